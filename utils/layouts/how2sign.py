"""How2Sign: tables ``..._train.csv`` (tab-separated, whatever their name says) beside clips or whole recordings.

A clip is ``SENTENCE_NAME.mp4``, cut already. Where it is not there, ``VIDEO_NAME.mp4`` is the recording, and the times
of the re-aligned tables, which belong to recordings alone, say which part of it.
"""

from __future__ import annotations

from pathlib import Path

from utils.layouts.listing import LayoutError, Listing, Row, by_stem, files_below, split_of
from utils.layouts.text import first_line, read_table

COLUMNS = ("VIDEO_NAME", "SENTENCE_NAME", "SENTENCE")
TIMES = (("START_REALIGNED", "END_REALIGNED"), ("START", "END"))


def recognises(folder: Path) -> bool:
    return bool(_tables(folder))


def read(folder: Path) -> Listing:
    """Every sentence of every table found."""
    listing = Listing()
    files = list(files_below(folder, (".mp4",)))
    clips = by_stem(files)
    for table in _tables(folder):
        split = _split(table)
        for line, values in read_table(table, listing, delimiter="\t", quoted=False):
            place = f"{table}, line {line}"
            try:
                listing.add(_row(values, clips, folder, split), place)
            except LayoutError as error:
                listing.refuse(place, str(error))
    listing.tell_unlisted(files)
    return listing


def _tables(folder: Path) -> list[Path]:
    tables = files_below(folder, (".csv", ".tsv"))
    return [path for path in tables if set(COLUMNS) <= set(first_line(path).split("\t"))]


def _split(table: Path) -> str:
    """From the table's name: ``how2sign_realigned_val.csv``."""
    words = table.stem.lower().replace("-", "_").split("_")
    return next((split_of(word) for word in reversed(words) if word in ("train", "val", "test")), "")


def _row(values: dict[str, str], clips: dict[str, Path], folder: Path, split: str) -> Row:
    name, recording = values["SENTENCE_NAME"].strip(), values["VIDEO_NAME"].strip()
    row = Row(clips.get(name, folder / f"{name}.mp4"), values["SENTENCE"], name, split=split)
    if name in clips or recording not in clips:
        return row
    times = next((pair for pair in TIMES if set(pair) <= set(values)), None)
    if times is None:
        raise LayoutError(f"{recording}.mp4 is a whole recording, and the table has no times; wanted {name}.mp4")
    try:
        start, end = (float(values[column]) for column in times)
    except ValueError as error:
        raise LayoutError(f"{times[0]} and {times[1]} of {name} are no numbers; wanted seconds") from error
    return row._replace(path=clips[recording], start=start, end=end)
