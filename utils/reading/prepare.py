"""Video files of any layout -> GIF + TXT pairs that training reads, cropped to where the hands move.

The crop decides whether a hand is 6 or 14 pixels wide at 64 px. Each pair is made once: a GIF whose comment says the
same source, size and settings is kept. Clips that a data set holds out for validation are listed in ``held_out.json``
(SPLIT_FILE), and its test clips go to a folder of their own, so that nothing trains on them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from utils.files import write_file
from utils.gif import read_comment
from utils.layouts.listing import Row
from utils.layouts.registry import read_listing
from utils.reading.clip import Source
from utils.reading.reader import open_source, window_of
from utils.reading.signer import Square, around, middle_square, signing_square, signing_time
from utils.reading.timeline import even_moments
from utils.video import VideoError, resize_and_crop
from utils.writing import write_clip

Item, Done = TypeVar("Item"), TypeVar("Done")

FORMAT = 1
HELD_OUT = "held_out.json"
TEST = "_test"  # behind the output folder's name
LOOK_SIDE, LOOK_FRAMES = 64, 48  # px and frames that are looked at to find where and when somebody signs
MAX_FPS = 25
MAX_SECONDS = 60.0  # of a clip; a recording wants rows with start and end


@dataclass(frozen=True)
class Settings:
    """Of a run: ``size`` px; ``crop`` to the signer of each clip, to one square for the whole set, or to the centre,
    each without black bars; ``trim`` the rest at both ends. ``square`` is the set's, once it is known."""

    size: int
    crop: str = "signer"
    trim: bool = True
    square: Square | None = None


@dataclass
class VideosReport:
    """What became of every listed and unlisted clip; the numbers add up."""

    layout: str
    num_listed: int = 0
    written: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # with the reason
    unlisted: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    num_validation: int = 0
    num_test: int = 0

    def __str__(self) -> str:
        """Counts, then a line for everything that is not used or was changed."""
        counts = f"{len(self.written)} written, {len(self.kept)} kept, {len(self.left_out)} left out"
        lines = [f"layout {self.layout}: {self.num_listed} clips listed: {counts}; {len(self.unlisted)} unlisted"]
        if self.num_validation or self.num_test:
            lines.append(f"of these, by the data's own split: validation {self.num_validation}, test {self.num_test}")
        lines += [f"left out: {line}" for line in (*self.left_out, *self.unlisted)]
        return "\n".join([*lines, *(f"note: {line}" for line in self.remarks)])


def prepare_videos(folder: Path, output: Path, settings: Settings, *, layout: str = "auto") -> VideosReport:
    """Write OUTPUT/NAME.gif with NAME.txt for every clip of ``folder`` that can be read, on all cores.

    Raises:
        LayoutError: no folder, or its list cannot be read.
        FileError: the disk refuses.
    """
    name, listing = read_listing(folder, layout)
    by_split = any(row.split for row in listing.rows)
    paths = [_path(row, output, by_split=by_split) for row in listing.rows]
    report = VideosReport(name, listing.num_listed, remarks=listing.remarks)
    for problem in listing.problems:
        (report.unlisted if problem.kind == "unlisted" else report.left_out).append(problem.text)
    if settings.crop == "set":
        squares = [square for square in _on_all_cores(_square_of, listing.rows, "looking") if square]
        settings = replace(settings, square=around(squares) if squares else None)
    pairs = list(zip(listing.rows, paths, strict=True))
    results = _on_all_cores(partial(_convert, settings=settings), pairs, "reading videos")
    for row, path, (outcome, remarks) in zip(listing.rows, paths, results, strict=True):
        {"written": report.written, "kept": report.kept}.get(outcome, report.left_out).append(
            path.stem if outcome in ("written", "kept") else outcome
        )
        report.remarks += remarks
        used = outcome in ("written", "kept")
        report.num_validation += used and row.split == "validation"
        report.num_test += used and row.split == "test"
    held_out = [
        path.relative_to(output).with_suffix("").as_posix()
        for row, path in zip(listing.rows, paths, strict=True)
        if row.split == "validation" and path.is_file()
    ]
    if held_out:
        write_file(output / HELD_OUT, (json.dumps({"held_out": held_out}, indent=1) + "\n").encode())
    return report


def _path(row: Row, output: Path, *, by_split: bool) -> Path:
    """The pair's GIF. ``SIGNER__NAME`` keeps a signer's clips together, unless the data bring a split of their own."""
    place = output.with_name(output.name + TEST) if row.split == "test" else output
    parts = [part.replace("__", "_") for part in Path(row.name).parts]
    if row.signer and not by_split:
        parts[-1] = f"{row.signer.replace('__', '_')}__{parts[-1]}"
    return place.joinpath(*parts[:-1], f"{parts[-1]}.gif")


def _convert(pair: tuple[Row, Path], *, settings: Settings) -> tuple[str, list[str]]:
    """("written" or "kept" or why it is left out, remarks)."""
    row, path = pair
    try:
        comment = _comment(row, settings)
        text = f"{row.text}\n".encode()
        caption = path.with_suffix(".txt")
        if _is_there(path, comment) and caption.is_file() and caption.read_bytes() == text:
            return "kept", []
        frames, fps, remarks = _frames(row, settings)
        write_file(caption, text)
        write_clip(path, frames, fps=fps, comment=comment)
        return "written", remarks
    except (VideoError, OSError) as error:
        return str(error), []


def _frames(row: Row, settings: Settings) -> tuple[np.ndarray, int, list[str]]:
    """(F, size, size, 3) uint8, its frames per second, remarks."""
    with open_source(row) as source:
        timeline = source.timeline
        left, right = window_of(row, timeline)
        if right - left > MAX_SECONDS:
            raise VideoError(f"{row.path}: {right - left:.0f} s; wanted at most {MAX_SECONDS:g}, by start and end")
        small, starts = _look(source, left, right)
        if settings.trim:
            left, right = signing_time(small, np.maximum(starts, left), right)
        square = settings.square or (middle_square if settings.crop == "centre" else signing_square)(small)
        fps = max(1, min(MAX_FPS, round(timeline.frames_per_second)))
        moments = even_moments(left, right, max(2, round((right - left) * fps)))
        pictures = source.pictures(timeline.shown_at(moments).tolist(), side=round(settings.size / square.side))
        frames = np.stack([_cut(picture.pixels, square, settings.size) for picture in pictures])
        return frames, fps, source.remarks


def _look(source: Source, left: float, right: float) -> tuple[np.ndarray, np.ndarray]:
    """Some small frames (F, h, w, 3) uint8 of a clip, and when each appears, in seconds."""
    timeline = source.timeline
    indices = sorted(set(timeline.shown_at(even_moments(left, right, LOOK_FRAMES)).tolist()))
    if len(indices) < 2:
        raise VideoError(f"{source.path}: one frame; wanted a clip of at least 2")
    return np.stack([picture.pixels for picture in source.pictures(indices, side=LOOK_SIDE)]), timeline.starts[indices]


def _square_of(row: Row) -> Square | None:
    """Where the clip signs; None where it cannot be read, which is told when it is converted."""
    try:
        with open_source(row) as source:
            return signing_square(_look(source, *source.timeline.window(row.start, row.end))[0])
    except (VideoError, OSError):
        return None


def _cut(pixels: np.ndarray, square: Square, size: int) -> np.ndarray:
    """The square of a picture (h, w, 3), (size, size, 3)."""
    shorter = min(pixels.shape[:2])
    side = min(size, shorter)
    left, top = (
        min(round(at * shorter), end - side)
        for at, end in ((square.left, pixels.shape[1]), (square.top, pixels.shape[0]))
    )
    return resize_and_crop(pixels[None, top : top + side, left : left + side], size)[0]


def _comment(row: Row, settings: Settings) -> str:
    """What decides a pair: the source by name, size and time, its window, the settings."""
    files = sorted(row.path.iterdir()) if row.path.is_dir() else [row.path]
    found = [path.stat() for path in files]
    source = [row.path.name, sum(one.st_size for one in found), max(one.st_mtime_ns for one in found)]
    facts = {"source": source, "window": [row.start, row.end], "settings": asdict(settings), "text": row.text}
    return json.dumps({"text2sign_video": FORMAT, **facts}, ensure_ascii=False)


def _is_there(path: Path, comment: str) -> bool:
    try:
        return path.is_file() and read_comment(path) == comment
    except VideoError:
        return False


def _on_all_cores(do: Callable[[Item], Done], items: Sequence[Item], doing: str) -> list[Done]:
    """The results in the order of ``items``; each worker opens its own files."""
    num_processes = min(os.cpu_count() or 1, max(1, len(items) // 4))
    with ProcessPoolExecutor(num_processes) as pool:
        return list(tqdm(pool.map(do, items, chunksize=4), total=len(items), desc=doing, unit="clip", disable=None))
