"""Clips of one shape in a file, (N, F, S, S, 3) uint8: appended by the process that makes it, mapped by any."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

SUFFIX = ".clips"


class Pixels(NamedTuple):
    """``rows`` (N, F, S, S, 3) uint8, read-only; they stay readable whatever becomes of the file's name.

    ``stamp``: bytes and ns of the last change; where it is another, what was known of the rows is in doubt.
    """

    rows: np.ndarray
    stamp: list[int]


def open_pixels(path: Path, shape: tuple[int, ...]) -> Pixels:
    """Map a file of clips of ``shape``.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        return _mapped(file, shape)


class PixelWriter:
    """A new file in ``folder``, under a name that no other process takes."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = f"{secrets.token_hex(8)}{SUFFIX}"
        self.num_rows = 0
        self._file = open(folder / self.name, "x+b", buffering=0)

    def append(self, clip: np.ndarray) -> int:
        """The row that the clip has from now on.

        Raises:
            OSError: not all of it could be written.
        """
        if self._file.write(np.ascontiguousarray(clip)) != clip.nbytes:  # a full disk takes part of it
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.num_rows += 1
        return self.num_rows - 1

    @property
    def stamp(self) -> list[int]:
        """As ``Pixels`` has it, for now."""
        return _stamp(self._file)

    def finish(self, shape: tuple[int, ...]) -> Pixels:
        """Map what was written and write no more."""
        with self._file:
            return _mapped(self._file, shape)


def _mapped(file: BinaryIO, shape: tuple[int, ...]) -> Pixels:
    """All whole rows of a file, at least as many as were there when it was opened."""
    stamp = _stamp(file)
    num_rows = stamp[0] // int(np.prod(shape))
    empty = np.empty((0, *shape), np.uint8)
    rows = np.memmap(file, np.uint8, "r", shape=(num_rows, *shape)) if num_rows else empty
    return Pixels(np.asarray(rows), stamp)  # slices of a plain array are quicker than those of a memmap


def _stamp(file: BinaryIO) -> list[int]:
    found = os.stat(file.fileno())
    return [found.st_size, found.st_mtime_ns]
