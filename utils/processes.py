"""Which of how many processes this one is, as torchrun says it. Standard library only; no process group needed."""

from __future__ import annotations

import os
from typing import NamedTuple


class World(NamedTuple):
    """``rank`` of ``size`` processes over all machines, ``local_rank`` on this one: the number of its GPU."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """The one that writes files and speaks."""
        return self.rank == 0


def world() -> World:
    """From the environment of ``torchrun``; alone without it."""
    return World(
        *(int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0)))
    )
