"""WLASL: ``WLASL_v0.3.json`` beside ``videos/ID.mp4``, which its preparation has cut already: they are not cut again.

Its splits share signers. ``missing.txt`` names what could not be downloaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from utils.layouts.listing import LayoutError, Listing, Row, by_stem, files_below, split_of
from utils.layouts.text import read_text


def recognises(folder: Path) -> bool:
    return bool(_lists(folder)) and (folder / "videos").is_dir()


def read(folder: Path) -> Listing:
    """Every instance of every gloss."""
    lists = _lists(folder)
    if not lists:
        raise LayoutError(f"{folder} has no WLASL_v0.3.json; wanted it beside the folder videos")
    listing, table = Listing(), lists[-1]
    files = list(files_below(folder / "videos"))
    clips = by_stem(files)
    try:
        entries = json.loads(read_text(table, listing.remarks))
        instances = [(entry["gloss"], instance) for entry in entries for instance in entry["instances"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LayoutError(f"{table} lists no glosses with instances ({error!r}); wanted the published file") from error
    for gloss, instance in instances:
        _add(listing, table, folder, clips, str(gloss), instance)
    listing.tell_unlisted(files)
    return listing


def _add(listing: Listing, table: Path, folder: Path, clips: dict[str, Path], gloss: str, instance: Any) -> None:
    try:
        video, split, signer = str(instance["video_id"]), split_of(str(instance["split"])), str(instance["signer_id"])
    except (KeyError, TypeError, LayoutError) as error:
        listing.refuse(str(table), f"an instance of {gloss!r} has no video_id, split or signer_id ({error})")
        return
    path = clips.get(video, folder / "videos" / f"{video}.mp4")
    listing.add(Row(path, gloss, video, split=split, signer=signer), f"{table}, video {video}")


def _lists(folder: Path) -> list[Path]:
    return sorted(folder.glob("WLASL_v*.json"))
