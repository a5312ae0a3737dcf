"""``NAME.mp4`` (or any other video, or a folder ``NAME`` of frames) beside ``NAME.txt``, sub-folders included."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from utils.layouts.listing import FRAME_SUFFIXES, VIDEO_SUFFIXES, LayoutError, Listing, Problem, Row, files_below
from utils.layouts.text import read_text

MAX_BYTES = 10_000  # of a caption, which is a sentence; anything longer is another file by mistake
SINGLE = (*VIDEO_SUFFIXES, ".png")


def recognises(folder: Path) -> bool:
    return any(True for _ in files_below(folder, (".txt",)))


def read(folder: Path) -> Listing:
    """Every caption's clip; what has no partner, or two, is a problem."""
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
            _add(listing, found[0], caption, name=stem.relative_to(folder).as_posix())
        for other in others:
            listing.refuse(str(other), f"{names or stem.name} has a text already, {caption.name}; wanted one of them")
    listing.tell_unlisted(path for path in files_below(folder) if not listing.named & set(path.parents))
    return listing


def _by_stem(files: Iterable[Path]) -> dict[Path, list[Path]]:
    """Path without suffix -> the files of that name."""
    found: dict[Path, list[Path]] = {}
    for path in files:
        found.setdefault(path.with_suffix(""), []).append(path)
    return found


def _has_frames(folder: Path) -> bool:
    return folder.is_dir() and any(path.suffix.lower() in FRAME_SUFFIXES for path in folder.iterdir())


def _add(listing: Listing, clip: Path, caption: Path, *, name: str) -> None:
    try:
        if caption.stat().st_size > MAX_BYTES:
            raise LayoutError(f"{caption.stat().st_size:,} bytes; wanted a caption of at most {MAX_BYTES:,}")
        listing.add(Row(clip, read_text(caption, listing.remarks), name), str(caption))
    except (OSError, LayoutError) as error:
        listing.refuse(str(caption), str(error), files=[clip])
