"""``NAME.mp4`` (or any other video, or a folder ``NAME`` of frames) beside ``NAME.txt``, sub-folders included."""

from __future__ import annotations

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
    captions = {path.with_suffix(""): path for path in files_below(folder, (".txt",))}
    for stem, caption in captions.items():
        clips = [path for path in _beside(stem) if path.suffix.lower() in SINGLE or path.is_dir()]
        if len(clips) > 1:
            names = " and ".join(path.name for path in clips)
            listing.refuse(str(caption), f"it belongs to {names}; wanted one of them")
        elif not clips:
            wanted = f"{stem.name}.mp4, another video, or a folder {stem.name} of frames"
            listing.problems.append(Problem("missing", f"{caption}: no clip; wanted {wanted} beside it"))
        else:
            _add(listing, clips[0], caption, name=stem.relative_to(folder).as_posix())
    frames = {path for path in listing_folders(listing)}
    listing.tell_unlisted(path for path in files_below(folder) if not frames & set(path.parents))
    return listing


def listing_folders(listing: Listing) -> list[Path]:
    """Folders of frames among the rows."""
    return [row.path for row in listing.rows if row.path.is_dir()]


def _beside(stem: Path) -> list[Path]:
    """Files and folders of frames with this name."""
    found = [path for path in sorted(stem.parent.glob(f"{_escaped(stem.name)}.*")) if path.stem == stem.name]
    is_frames = stem.is_dir() and any(path.suffix.lower() in FRAME_SUFFIXES for path in stem.iterdir())
    return [*found, stem] if is_frames else found


def _escaped(name: str) -> str:
    """``name`` as a pattern of itself."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


def _add(listing: Listing, clip: Path, caption: Path, *, name: str) -> None:
    try:
        if caption.stat().st_size > MAX_BYTES:
            raise LayoutError(f"{caption.stat().st_size:,} bytes; wanted a caption of at most {MAX_BYTES:,}")
        listing.add(Row(clip, read_text(caption, listing.remarks), name), str(caption))
    except (OSError, LayoutError) as error:
        listing.refuse(str(caption), str(error))
