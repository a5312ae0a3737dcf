"""ASL Citizen: ``splits/{train,val,test}.csv`` beside ``videos/``. The text is the column Gloss, not a file's name."""

from __future__ import annotations

from pathlib import Path

from utils.layouts.listing import Listing, Row, files_below, split_of
from utils.layouts.text import first_line, read_table

COLUMNS = ("Participant ID", "Video file", "Gloss")
SPLITS = ("train", "val", "test")


def recognises(folder: Path) -> bool:
    columns = first_line(folder / "splits" / "train.csv").split(",")
    return set(COLUMNS) <= set(columns)


def read(folder: Path) -> Listing:
    """Every row of the three tables."""
    listing = Listing()
    for split in SPLITS:
        table = folder / "splits" / f"{split}.csv"
        if not table.is_file():
            continue
        for line, values in read_table(table, listing, delimiter=",", columns=COLUMNS):
            file = values["Video file"].strip()
            name = file.removesuffix(".mp4")  # names hold dots, such as 4.7e-7-seedSOUR.mp4
            row = Row(
                folder / "videos" / file, values["Gloss"], name, split=split_of(split),
                signer=values["Participant ID"].strip(),
            )  # fmt: skip
            listing.add(row, f"{table}, line {line}")
    listing.tell_unlisted(files_below(folder / "videos"))
    return listing
