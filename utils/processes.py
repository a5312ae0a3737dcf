"""Which of how many processes this one is, as torchrun says it. No process group needed."""

from __future__ import annotations

import importlib.util
import io
import os
import sys
from typing import NamedTuple

from config import ConfigError

IS_POSIX = importlib.util.find_spec("fcntl") is not None
"""Linux and macOS. Windows has no word for some things here, and another meaning for others; psutil knows both."""


class World(NamedTuple):
    """``rank`` of ``size`` processes over all machines; on this one ``local_rank``, its GPU's number, of
    ``local_size``."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_first(self) -> bool:
        """The one that writes files and speaks."""
        return self.rank == 0


def world() -> World:
    """From the environment of ``torchrun``; alone without it.

    Raises:
        ConfigError: what stands there is no number, or no process of so many.
    """
    defaults = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    texts = {name: os.environ.get(name, default) for name, default in defaults.items()}
    if all(text.isdecimal() for text in texts.values()):
        found = World(*map(int, texts.values()))
        if found.rank < found.size and found.local_rank < found.size and 1 <= found.local_size <= found.size:
            return found
    said = " ".join(f"{name}={text}" for name, text in texts.items())
    raise ConfigError(f"{said} in the environment; wanted ranks from 0 to WORLD_SIZE - 1, as torchrun sets them.")


def speaks() -> bool:
    """Whether this process tells the user of a mistake: the first one of each machine, and one that is none of many."""
    try:
        return world().local_rank == 0
    except ConfigError:
        return True


def print_anything() -> None:
    """Let a letter that stdout's code page lacks be printed as an escape, and not end the command.

    On Windows that is the code page of a file or a pipe, with 256 letters.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
