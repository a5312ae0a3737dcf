"""CSL-Daily: folders of JPEG frames, a pickle of labels, and ``split_1.txt`` with ``name|split``; 30 frames a second.

The pickle is read by an unpickler that knows no class and no function, so that nothing in it can run.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, NoReturn

from utils.layouts.listing import LayoutError, Listing, Problem, Row, folders_in, split_of
from utils.layouts.text import read_text

LABELS = "sentence_label/csl2020ct_v2.pkl"
SPLIT = "sentence_label/split_1.txt"
FRAMES = "sentence/frames_512x512"
FRAMES_PER_SECOND = 30.0


class _PlainUnpickler(pickle.Unpickler):
    """Lists, dictionaries, texts and numbers alone."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def recognises(folder: Path) -> bool:
    return (folder / LABELS).is_file()


def read(folder: Path) -> Listing:
    """Every sentence of the labels, its characters without spaces as its text."""
    listing = Listing()
    splits = _splits(folder, listing)
    infos = _labels(folder / LABELS)
    for info in infos:
        name = str(info.get("name", ""))
        text = "".join(map(str, info.get("label_char", [])))
        row = Row(
            folder / FRAMES / name, text, name, split=splits.get(name, ""), signer=str(info.get("signer", "")),
            frames_per_second=FRAMES_PER_SECOND,
        )  # fmt: skip
        listing.add(row, f"{folder / LABELS}, {name}")
        if name not in splits:
            listing.remarks.append(f"{name} is in no split of {folder / SPLIT}")
    known = {str(info.get("name", "")) for info in infos}
    for name in sorted(splits.keys() - known):
        listing.problems.append(Problem("missing", f"{folder / SPLIT}: {name} has no label; it is left out"))
        listing.named.add(folder / FRAMES / name)
    listing.tell_unlisted(folders_in(folder / FRAMES))
    return listing


def _labels(path: Path) -> list[dict[str, Any]]:
    try:
        with open(path, "rb") as file:
            infos = _PlainUnpickler(file).load()["info"]
    except Exception as error:  # a pickle can fail in any way; nothing of it is used then
        raise LayoutError(f"{path} is no plain pickle of labels ({error}); wanted the published file") from error
    if not isinstance(infos, list) or not all(isinstance(info, dict) for info in infos):
        raise LayoutError(f"{path} holds no list of labels under 'info'; wanted the published file")
    return infos


def _splits(folder: Path, listing: Listing) -> dict[str, str]:
    if not (folder / SPLIT).is_file():
        listing.remarks.append(f"{folder / SPLIT} is not there, so no official split is known")
        return {}
    lines = [line.split("|") for line in read_text(folder / SPLIT, listing.remarks).splitlines() if "|" in line]
    return {name.strip(): split_of(split) for name, split, *_ in lines if split.strip() != "split"}
