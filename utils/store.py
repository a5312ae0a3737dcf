"""Small values kept on disk, a file each, by a key that says all that they depend on. Nothing here is ever needed: what
is missing, damaged or refused by the disk is made anew by whoever asks.

A file is written whole or not at all and carries a checksum, so that processes may share a folder without a lock.
"""

from __future__ import annotations

import contextlib
import os
import sys
import zlib
from pathlib import Path

from tqdm import tqdm

from utils.files import FileError, write_file
from utils.processes import world

CHECKSUM_BYTES = 4


class Store:
    """Values in ``folder`` and 256 folders below it; keys are hexadecimal digests."""

    def __init__(self, folder: Path, *, what: str) -> None:
        """``what`` is kept, for the note that the disk takes no more."""
        self.folder, self._what = folder, what
        self._is_refused = False

    def get(self, key: str) -> bytes | None:
        """The value as it was put; None where it is not there, or not whole."""
        try:
            data = self._path(key).read_bytes()
        except OSError:
            return None
        value = data[:-CHECKSUM_BYTES]
        return value if data[-CHECKSUM_BYTES:] == _checksum(key, value) else None

    def put(self, key: str, value: bytes) -> bool:
        """Whether the value lies there now; that the disk refuses it is told once, and nothing is put any more."""
        if not self._is_refused:
            try:
                write_file(self._path(key), value + _checksum(key, value), durable=False)
            except FileError as error:
                self._is_refused = True
                if world().is_first:
                    cure = "every start will make them anew. Name another folder: --set CACHE_DIR=FOLDER"
                    tqdm.write(f"note: {self._what} are not kept, {cure} ({error})", file=sys.stderr)
        return not self._is_refused

    def keys(self) -> set[str]:
        """Of all values that are there, whole or not; by the names of files alone."""
        found: set[str] = set()
        with contextlib.suppress(OSError):
            for place in (entry.path for entry in os.scandir(self.folder) if entry.is_dir()):
                found |= {name for name in os.listdir(place) if not name.startswith(".")}
        return found

    def drop(self, keys: set[str]) -> None:
        """Delete values. One that another process reads, which Windows does not allow, stays."""
        for key in keys:
            with contextlib.suppress(OSError):
                self._path(key).unlink()

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key


def _checksum(key: str, value: bytes) -> bytes:
    """CRC-32 of the value and of whose it is: a file under another's name is not taken for it."""
    return zlib.crc32(value, zlib.crc32(key.encode())).to_bytes(CHECKSUM_BYTES, "big")
