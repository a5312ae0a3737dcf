"""INCLUDE: a table ``Word,FilePath`` beside folders such as ``Adjectives/1. loud/MVI_1.MOV``. Serials are no words."""

from __future__ import annotations

import re
from pathlib import Path

from utils.layouts.listing import LayoutError, Listing, Row, files_below
from utils.layouts.text import first_line, read_table

SERIAL = re.compile(r"^\s*\d+\s*\.\s*")
COLUMNS = ["Word", "FilePath"]


def recognises(folder: Path) -> bool:
    return bool(_tables(folder))


def read(folder: Path) -> Listing:
    """Every row of the table, or of all tables of its form in the folder."""
    listing = Listing()
    tables = _tables(folder)
    if not tables:
        raise LayoutError(f"{folder} has no table with the columns {COLUMNS}; wanted one beside the folders of videos")
    for table in tables:
        for line, values in read_table(table, listing, delimiter=","):
            file = values["FilePath"].strip()
            if not Path(file).name:  # nothing, or a folder above
                listing.refuse(f"{table}, line {line}", f"FilePath is {file!r}; wanted the name of a file")
                continue
            row = Row(folder / file, SERIAL.sub("", values["Word"]), Path(file).with_suffix("").as_posix())
            listing.add(row, f"{table}, line {line}")
    listing.tell_unlisted(files_below(folder))
    return listing


def _tables(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.csv")) if first_line(path).split(",")[:2] == COLUMNS]
