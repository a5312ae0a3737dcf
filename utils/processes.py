"""Which of how many processes this one is, as torchrun says it. Standard library only; no process group needed."""

from __future__ import annotations

import os
from typing import NamedTuple

from config import ConfigError


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
    """From the environment of ``torchrun``; alone without it.

    Raises:
        ConfigError: what stands there is no number, or no process of so many.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    texts = [os.environ.get(name, default) for name, default in zip(names, ("0", "1", "0"), strict=True)]
    if all(text.isdecimal() for text in texts):
        rank, size, local_rank = map(int, texts)
        if rank < size and local_rank < size:
            return World(rank, size, local_rank)
    found = " ".join(f"{name}={text}" for name, text in zip(names, texts, strict=True))
    raise ConfigError(f"{found} in the environment; wanted ranks from 0 to WORLD_SIZE - 1, as torchrun sets them.")
