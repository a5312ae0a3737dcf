"""What every layout gives: rows, each a clip with its text, and a line for all that is none. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple

from config import UserError

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpeg", ".mpg", ".gif", ".webp", ".apng")
FRAME_SUFFIXES = (".png", ".jpg", ".jpeg")  # of a folder of frames; a single .png may be an animation too
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}

Kind = Literal["missing", "unlisted", "row", "unreadable"]
Recall = Callable[[Path, Callable[[], Any]], Any]
"""What a file held when it was as it is now, or what the function reads in it: plain JSON types."""


class LayoutError(UserError):
    """A folder that is not laid out as was said, or whose list cannot be read at all."""


class Span(NamedTuple):
    """Where a clip of several signs shows one of them, in seconds from the clip's start."""

    sign: str
    start: float
    end: float


class Row(NamedTuple):
    """A clip: ``path`` a video file or a folder of frames, and what its list says of it."""

    path: Path
    text: str
    name: str  # unique among the rows; for messages, groups and previews
    start: float = 0.0  # seconds into the file
    end: float | None = None  # seconds; None: to the end
    split: str = ""  # train, validation, test; "": not said
    signer: str = ""  # "": not said
    frames_per_second: float | None = None  # of a folder of frames
    stretch: float = 1.0  # height of a pixel over its width, where the files do not say it
    spans: tuple[Span, ...] = ()  # of its signs in order; (): not said


class Problem(NamedTuple):
    """Why a listed clip is not used, or what lies there unlisted: one line of the ledger."""

    kind: Kind
    text: str


@dataclass
class Listing:
    """Every entry of a list is a row or a problem; files that no entry names are problems of the kind ``unlisted``."""

    rows: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    named: set[Path] = field(default_factory=set)  # files that an entry names, usable or not

    @property
    def num_listed(self) -> int:
        return len(self.rows) + sum(problem.kind != "unlisted" for problem in self.problems)

    def add(self, row: Row, place: str) -> None:
        """``row`` of ``place`` (a file and a line), or the reason why it is none."""
        text = " ".join(row.text.split())
        self.named.add(row.path)
        if reason := _flaw(row, text):
            self.problems.append(Problem("row" if row.path.exists() else "missing", f"{place}: {reason}"))
        else:
            self.rows.append(row._replace(text=text))

    def refuse(self, place: str, reason: str, *, files: Iterable[Path] = ()) -> None:
        """An entry of the list, which names ``files``, that cannot be a row."""
        self.named.update(files)
        self.problems.append(Problem("row", f"{place}: {reason}"))

    def tell_unlisted(self, files: Iterable[Path]) -> None:
        """Of ``files`` those that no entry names."""
        for path in files:
            if path not in self.named:
                reason = "no text; it is not listed" if path.exists() else "a link to nothing; it is not listed"
                self.problems.append(Problem("unlisted", f"{path}: {reason}"))


def _flaw(row: Row, text: str) -> str:
    """Why ``row`` cannot be used; empty if it can, as far as its list tells."""
    if not row.path.exists():
        return f"{row.path} is listed and does not exist"
    if not text:
        return f"{row.path.name} has an empty text; wanted what is signed"
    if row.start < 0 or (row.end is not None and row.end <= row.start):
        return f"{row.path.name} from {row.start:g} s to {row.end:g} s holds nothing; wanted start before end"
    return ""


def split_of(word: str) -> str:
    """``dev`` -> ``validation``; empty stays empty.

    Raises:
        LayoutError: no word for a split.
    """
    if not word.strip():
        return ""
    if word.strip().lower() not in SPLITS:
        raise LayoutError(f"split {word!r} is unknown; wanted one of {', '.join(SPLITS)}")
    return SPLITS[word.strip().lower()]


def files_below(folder: Path, suffixes: tuple[str, ...] = VIDEO_SUFFIXES) -> Iterator[Path]:
    """Files of these suffixes in ``folder`` and below, sorted, and links to nothing; hidden ones are passed over.

    Raises:
        LayoutError: a folder cannot be looked into.
    """
    named = (entry for entry in _entries(folder) if os.path.splitext(entry.name)[1].lower() in suffixes)
    yield from sorted((Path(entry.path) for entry in named if _is_file(entry)), key=attrgetter("parts"))


def _entries(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    """All in ``folder`` and below that is no folder and not hidden; links to folders are not followed."""
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise LayoutError(f"{folder} cannot be read: {error.strerror}; wanted a folder of clips") from error
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _entries(entry.path)
        elif not entry.name.startswith("."):
            yield entry


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Or a link to nothing, or to itself."""
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    except OSError:
        return True


def folders_in(folder: Path) -> list[Path]:
    """Folders of frames that lie in ``folder``, sorted; none where there is no such folder."""
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def by_stem(files: Iterable[Path]) -> dict[str, Path]:
    """File name without suffix -> the first file of that name."""
    found: dict[str, Path] = {}
    for path in files:
        found.setdefault(path.stem, path)
    return found
