"""What every layout gives: rows, each a clip with its text, and a line for all that is none. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from config import UserError

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpeg", ".mpg", ".gif", ".webp", ".apng")
FRAME_SUFFIXES = (".png", ".jpg", ".jpeg")  # of a folder of frames; a single .png may be an animation too
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}

Kind = Literal["missing", "unlisted", "row"]


class LayoutError(UserError):
    """A folder that is not laid out as was said, or whose list cannot be read at all."""


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


class Problem(NamedTuple):
    """Why a listed clip is no row, or what lies there unlisted: one line of the ledger."""

    kind: Kind
    text: str


@dataclass
class Listing:
    """Every entry of a list is a row or a problem; files that no entry names are problems of the kind ``unlisted``."""

    rows: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def num_listed(self) -> int:
        return len(self.rows) + sum(problem.kind != "unlisted" for problem in self.problems)

    def add(self, row: Row, place: str) -> None:
        """``row`` of ``place`` (a file and a line), or the reason why it is none."""
        text = " ".join(row.text.split())
        if reason := _flaw(row, text):
            self.problems.append(Problem("row" if row.path.exists() else "missing", f"{place}: {reason}"))
        else:
            self.rows.append(row._replace(text=text))

    def refuse(self, place: str, reason: str) -> None:
        """An entry of the list that cannot be a row."""
        self.problems.append(Problem("row", f"{place}: {reason}"))

    def tell_unlisted(self, files: Iterable[Path]) -> None:
        """Of ``files`` those that no row has."""
        known = {row.path for row in self.rows}
        for path in files:
            if path not in known:
                self.problems.append(Problem("unlisted", f"{path}: no text; it is not listed"))


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
    """Files of these suffixes in ``folder`` and below, sorted; hidden ones and links in a circle are passed over."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    yield from sorted(path for path in found if not path.name.startswith(".") and path.is_file())


def by_stem(files: Iterable[Path]) -> dict[str, Path]:
    """File name without suffix -> the first file of that name."""
    found: dict[str, Path] = {}
    for path in files:
        found.setdefault(path.stem, path)
    return found
