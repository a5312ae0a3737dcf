"""AUTSL: ``train_labels.csv`` without header, ``signerX_sampleY_color.mp4``; the depth videos beside them are not read.

``SignList_ClassId_TR_EN.csv`` gives each class its Turkish and its English word; the English one is the text.
"""

from __future__ import annotations

from pathlib import Path

from utils.layouts.listing import LayoutError, Listing, Row, by_stem, files_below, split_of
from utils.layouts.text import read_table

CLASSES = "SignList_ClassId_TR_EN.csv"
LABELS = {"train": "train_labels.csv", "val": "validation_labels.csv", "test": "test_labels.csv"}


def recognises(folder: Path) -> bool:
    return (folder / CLASSES).is_file() and (folder / LABELS["train"]).is_file()


def read(folder: Path) -> Listing:
    """Every sample of the labels that are there."""
    listing = Listing()
    if not (folder / CLASSES).is_file():
        raise LayoutError(f"{folder} has no {CLASSES}; wanted it beside {LABELS['train']}")
    table = read_table(folder / CLASSES, listing, delimiter=",", columns=("ClassId", "EN"))
    words = {values["ClassId"].strip(): values["EN"] for _, values in table}
    files = [path for path in files_below(folder) if path.stem.endswith("_color")]
    clips = by_stem(files)
    for split, name in LABELS.items():
        labels = folder / name
        if not labels.is_file():
            continue
        for line, values in read_table(labels, listing, delimiter=",", header=["sample", "class"]):
            sample, number = values["sample"].strip(), values["class"].strip()
            place = f"{labels}, line {line}"
            path = clips.get(f"{sample}_color", folder / split / f"{sample}_color.mp4")
            if number not in words:
                listing.refuse(place, f"class {number!r} is not in {CLASSES}", files=[path])
                continue
            row = Row(path, words[number], sample, split=split_of(split), signer=sample.partition("_")[0])
            listing.add(row, place)
    listing.tell_unlisted(files)
    return listing
