"""RWTH-PHOENIX-Weather 2014 T: folders of PNG frames, and tables with ``|`` between the columns and no quoting.

Frames are 210 x 260 px and were recorded so that 210 x 300 shows people as they are; the rate is 25 a second.
"""

from __future__ import annotations

from pathlib import Path

from utils.layouts.listing import LayoutError, Listing, Row, folders_in, split_of
from utils.layouts.text import read_table

TABLES = "annotations/manual/PHOENIX-2014-T.{split}.corpus.csv"
FRAMES = "features/fullFrame-210x260px"
COLUMNS = ("name", "speaker", "translation")
SPLITS = ("train", "dev", "test")
FRAMES_PER_SECOND = 25.0
STRETCH = 300 / 260


def recognises(folder: Path) -> bool:
    return _root(folder) is not None


def read(folder: Path) -> Listing:
    """Every row of the three tables, with the spoken language as its text."""
    root = _root(folder)
    if root is None:
        raise LayoutError(f"{folder} has no {TABLES.format(split='train')}; wanted the folder PHOENIX-2014-T")
    listing = Listing()
    for split in SPLITS:
        table = root / TABLES.format(split=split)
        if table.is_file():
            _read_split(listing, table, root / FRAMES / split, split_of(split))
    return listing


def _read_split(listing: Listing, table: Path, frames: Path, split: str) -> None:
    for line, values in read_table(table, listing, delimiter="|", quoted=False, columns=COLUMNS):
        name = values["name"].strip()
        row = Row(
            frames / name, values["translation"], name, split=split, signer=values["speaker"].strip(),
            frames_per_second=FRAMES_PER_SECOND, stretch=STRETCH,
        )  # fmt: skip
        listing.add(row, f"{table}, line {line}")
    listing.tell_unlisted(folders_in(frames))


def _root(folder: Path) -> Path | None:
    """The folder itself, or the one that the archive unpacks below it."""
    below = ("", "PHOENIX-2014-T", "PHOENIX-2014-T-release-v3/PHOENIX-2014-T")
    return next((folder / part for part in below if (folder / part / TABLES.format(split="train")).is_file()), None)
