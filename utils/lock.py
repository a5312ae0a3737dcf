"""A file that says which process works in a folder, so that two do not overwrite each other's work."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from pathlib import Path

from config import UserError
from utils import processes


class LockError(UserError):
    """Another process works there, or nothing can be written."""


class Lock:
    """The file at ``path`` while a process works beside it: its host, its number, and when it began.

    A lock whose owner has ended is taken over: one of this host where no such process lives. What lives on another host
    cannot be seen from here.
    """

    def __init__(self, path: Path, *, work: str, otherwise: str) -> None:
        """``work`` is what only one may do at once, ``otherwise`` how to do it elsewhere, as errors say it."""
        self._path, self._work, self._otherwise = path, work, otherwise
        own = os.getpid()
        facts = {"host": socket.gethostname(), "process": own, "began": processes.began(own)}
        self._own = json.dumps(facts) + "\n"
        self._made: list[Path] = []  # folders

    def take(self) -> None:
        """
        Raises:
            LockError: another process has it and may live, or the disk refuses.
        """
        folder = self._path.parent
        try:
            self._made = [one for one in (folder, *folder.parents) if not one.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            while not self._make():
                self._take_over()
        except OSError as error:
            raise LockError(f"{self._path} cannot be written: {error.strerror or error}. {self._otherwise}") from error

    def release(self) -> None:
        """Leave nothing behind, folders that ``take`` made and that are empty included."""
        with contextlib.suppress(OSError):
            if self._path.read_text(encoding="utf-8") == self._own:
                self._path.unlink()
            for folder in self._made:
                folder.rmdir()

    def _make(self) -> bool:
        try:
            with open(self._path, "x", encoding="utf-8") as file:
                file.write(self._own)
        except FileExistsError:
            return False
        return True

    def _take_over(self) -> None:
        """Remove the file if its owner has ended; where two processes do so at once, one takes the other's back."""
        found = _read(self._path)
        if not found:  # it may be being written
            time.sleep(0.2)
            found = _read(self._path)
        self._refuse_living(found)
        aside = self._path.with_name(f".{self._path.name}.{os.getpid()}.partial")
        with contextlib.suppress(FileNotFoundError):  # the other one was quicker
            os.replace(self._path, aside)
            if _read(aside) == found:
                aside.unlink()
            else:
                os.replace(aside, self._path)

    def _refuse_living(self, found: str) -> None:
        try:
            facts = json.loads(found)
            host, process, began = facts["host"], int(facts["process"]), facts["began"]
        except (ValueError, KeyError, TypeError):  # cut short by a kill
            return
        if host != socket.gethostname():
            raise LockError(
                f"{self._path}: process {process} on {host} is {self._work}; whether it still lives cannot be seen "
                f"from here. If it does not, remove the file. {self._otherwise}"
            )
        if process != os.getpid() and processes.lives(process) and began == processes.began(process):
            raise LockError(f"{self._path}: process {process} is {self._work}. Wait for it. {self._otherwise}")


def _read(path: Path) -> str:
    """Empty where there is none any more."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
