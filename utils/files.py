"""Writing a file whole: whoever reads it finds the old content or the new one, at whatever moment a process dies.

What is written lies beside its target under a hidden name, ``.NAME.PROCESS.partial``, is flushed to disk, and is
renamed.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from config import UserError
from utils import processes

RENAME_TRIES = 100  # a tenth of a second apart


class FileError(UserError):
    """The disk refuses a file."""


def write_file(path: Path, content: bytes | Callable[[BinaryIO], object], *, durable: bool = True) -> None:
    """Write ``content``, or what it writes into the open file it is given, with the folders above it, whole or not.

    Raises:
        FileError: the disk refuses; what stood at ``path`` is untouched.
    """
    try:
        with replacing(Path(path), durable=durable) as partial, open(partial, "wb") as file:
            file.write(content) if isinstance(content, bytes) else content(file)
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror or error}.") from error


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A path beside ``path`` to make a file at; it takes the place of ``path`` if all went well, and vanishes if not.

    ``durable`` also outlives a power cut; 4 ms, to be spared where what is damaged is found out and made anew.

    Raises:
        OSError: the disk refuses.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        if durable:
            with open(partial, "r+b") as file:
                os.fsync(file.fileno())
        _rename(partial, path)
    finally:
        with contextlib.suppress(OSError):  # never there, since its name is too long
            partial.unlink(missing_ok=True)
    if durable and processes.IS_POSIX:  # Windows cannot flush a folder
        _flush_names(path.parent)


def _rename(partial: Path, path: Path) -> None:
    """Windows refuses for as long as another process reads ``path``: moments, so it is asked again."""
    for left in range(RENAME_TRIES, -1, -1):
        try:
            os.replace(partial, path)
            return
        except PermissionError:
            if processes.IS_POSIX or not left:
                raise
        time.sleep(0.1)


def _flush_names(folder: Path) -> None:
    """A rename survives a power cut once its folder is flushed."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
