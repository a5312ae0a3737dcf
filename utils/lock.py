"""One process at a time: a file that the system locks, and lets go of when its process ends, however it ends."""

from __future__ import annotations

import contextlib
from pathlib import Path

from filelock import FileLock, Timeout

from config import UserError


class LockError(UserError):
    """Another process works there, or nothing can be written."""


class Lock:
    """The file at ``path``, there while a process works beside it."""

    def __init__(self, path: Path, *, work: str, otherwise: str) -> None:
        """``work`` is what only one may do at once, ``otherwise`` how to do it elsewhere, as errors say it."""
        self._path, self._work, self._otherwise = path, work, otherwise
        self._lock = FileLock(path)
        self._made: list[Path] = []  # folders

    def take(self) -> None:
        """
        Raises:
            LockError: another process has it, or the disk refuses.
        """
        folder = self._path.parent
        try:
            self._made = [one for one in (folder, *folder.parents) if not one.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise LockError(f"{self._path}: another process is {self._work}. Wait for it. {self._otherwise}") from error
        except OSError as error:
            raise LockError(f"{self._path} cannot be written: {error.strerror or error}. {self._otherwise}") from error

    def release(self) -> None:
        """Leave nothing behind, folders that ``take`` made and that are empty included."""
        if not self._lock.is_locked:
            return
        with contextlib.suppress(OSError):  # Windows removes it below
            self._path.unlink()
        self._lock.release()
        with contextlib.suppress(OSError):
            for folder in self._made:
                folder.rmdir()
