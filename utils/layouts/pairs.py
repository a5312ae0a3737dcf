"""``NAME.mp4`` (or any other video, or a folder ``NAME`` of frames) beside ``NAME.txt``, sub-folders included."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from utils.layouts.listing import (
    FRAME_SUFFIXES,
    VIDEO_SUFFIXES,
    LayoutError,
    Listing,
    Problem,
    Recall,
    Row,
    files_below,
)
from utils.layouts.text import read_text

MAX_BYTES = 10_000  # of a caption, which is a sentence; anything longer is another file by mistake
SINGLE = (*VIDEO_SUFFIXES, ".png")


def recognises(folder: Path) -> bool:
    return any(True for _ in files_below(folder, (".txt",)))


def read(folder: Path, recall: Recall = lambda _, read: read()) -> Listing:
    """Every caption's clip; what has no partner, or two, is a problem. ``recall`` spares reading captions it knows."""
    listing = Listing()
    clips, captions = (_by_stem(files_below(folder, suffixes)) for suffixes in (SINGLE, (".txt",)))
    for stem, (caption, *others) in captions.items():
        found = [*clips.get(stem, []), *([stem] if _has_frames(stem) else [])]
        names = " and ".join(path.name for path in found)
        if not found:
            wanted = f"{stem.name}.mp4, another video, or a folder {stem.name} of frames"
            listing.problems.append(Problem("missing", f"{caption}: no clip; wanted {wanted} beside it"))
        elif len(found) > 1:
            listing.refuse(str(caption), f"it belongs to {names}; wanted one of them", files=found)
        else:
            _add(listing, Row(found[0], "", stem.relative_to(folder).as_posix()), caption, recall)
        for other in others:
            listing.refuse(str(other), f"{names or stem.name} has a text already, {caption.name}; wanted one of them")
    videos = (path for beside in clips.values() for path in beside if path.suffix.lower() in VIDEO_SUFFIXES)
    folders = {path for path in listing.named if path.is_dir()}
    listing.tell_unlisted(path for path in videos if not folders.intersection(path.parents))
    return listing


def _by_stem(files: Iterable[Path]) -> dict[Path, list[Path]]:
    """Path without suffix -> the files of that name."""
    found: dict[Path, list[Path]] = {}
    for path in files:
        found.setdefault(path.with_suffix(""), []).append(path)
    return found


def _has_frames(folder: Path) -> bool:
    return folder.is_dir() and any(path.suffix.lower() in FRAME_SUFFIXES for path in folder.iterdir())


def _add(listing: Listing, row: Row, caption: Path, recall: Recall) -> None:
    def read_caption() -> tuple[str, list[str]]:
        remarks: list[str] = []
        return read_text(caption, remarks, max_bytes=MAX_BYTES), remarks

    try:
        text, remarks = recall(caption, read_caption)
    except LayoutError as error:
        listing.refuse(str(caption), str(error), files=[row.path])
        return
    listing.remarks += remarks
    listing.add(row._replace(text=text), str(caption))
