"""A listed clip -> the frames that are trained on, and what is worth knowing of its file.

with open_source(row) as source:      # any container, animation or folder of frames
    source.timeline                   # when each frame is shown
read_clip(row, num_frames=16, image_size=64)
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.gif import check_extent
from utils.layouts.listing import Row
from utils.reading.clip import Picture, Source
from utils.reading.container import Container
from utils.reading.stills import Animation, FrameFolder
from utils.reading.timeline import PLAUSIBLE_RATES, Timeline, even_moments, spaced_moments
from utils.video import VideoError

MOST_FRAMES = 1024  # of a clip at a rate that are kept, those in the middle: 12 MB at 64 px
ANIMATIONS = (".gif", ".webp", ".png", ".apng")


class Facts(NamedTuple):
    """Of a clip's file, its row's window alone where it has one; plain JSON types."""

    num_source: int  # frames in the window
    seconds: float
    frames_per_second: float
    size: tuple[int, int]  # px, width and height as shown
    rotation: int  # degrees, applied
    remarks: list[str]


class ReadClip(NamedTuple):
    """``frames`` (F, size, size, 3) uint8, and what they were taken from."""

    frames: np.ndarray
    facts: Facts


def open_source(row: Row) -> Source:
    """The reader of a row's file; nothing is opened before it is entered.

    Raises:
        VideoError: no file, or an empty one.
    """
    path = row.path
    if path.is_dir():
        return FrameFolder(path, rate=row.frames_per_second, stretch=row.stretch)
    if not path.is_file():
        raise VideoError(f"{path}: no file; wanted a video")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: empty, 0 bytes; wanted a video")
    return Animation(path) if path.suffix.lower() in ANIMATIONS else Container(path)


def window_of(row: Row, timeline: Timeline) -> tuple[float, float]:
    """The row's part of its file, in seconds.

    Raises:
        VideoError: nothing of the file lies in it.
    """
    try:
        return timeline.window(row.start, row.end)
    except VideoError as error:
        raise VideoError(f"{row.path}: {error}") from error


def read_clip(
    row: Row,
    *,
    num_frames: int,
    image_size: int,
    rate: float | None = None,
    place: float = 0.5,
    whole: bool = False,
) -> ReadClip:
    """The square in the middle of ``num_frames`` frames, upright and in RGB.

    ``rate``: frames per second, from a window at ``place`` in [0, 1] of where it can lie; None: evenly over the clip.
    ``whole``: at a rate, all frames from which a window can be cut, ``num_frames`` at least and MOST_FRAMES at most.

    Raises:
        VideoError: the file cannot be read, is a single picture, or has nothing in its row's window.
    """
    with open_source(row) as source:
        timeline = source.timeline
        left, right = window_of(row, timeline)
        if len(timeline.starts) < 2:
            raise VideoError(f"{row.path}: one frame; wanted a clip of at least 2")
        if rate is None:
            moments = even_moments(left, right, num_frames)
        else:
            most = min(int((right - left) * rate + 1e-6), MOST_FRAMES) if whole else 0
            moments = spaced_moments(left, right, max(num_frames, most), rate=rate, place=place)
        pictures = list(source.pictures(timeline.shown_at(moments).tolist(), side=image_size, square=True))
        remarks = [*source.remarks, *_remarks(row, timeline.frames_per_second, right - left, num_frames, rate)]
        facts = _facts(timeline, left, right, pictures[0], remarks)
    return ReadClip(np.stack([picture.pixels for picture in pictures]), facts)


def read_facts(row: Row, *, num_frames: int, rate: float | None = None) -> Facts:
    """What ``read_clip`` tells of a file, from its frames' times and its first frame, the only one that is decoded.

    Raises:
        VideoError: as ``read_clip``, but for damage behind the first frame.
    """
    with open_source(row) as source:
        timeline = source.timeline
        left, right = window_of(row, timeline)
        if len(timeline.starts) < 2:
            raise VideoError(f"{row.path}: one frame; wanted a clip of at least 2")
        first = next(source.pictures([0], side=1))
        remarks = [*source.remarks, *_remarks(row, timeline.frames_per_second, right - left, num_frames, rate)]
        return _facts(timeline, left, right, first, remarks)


def _facts(timeline: Timeline, left: float, right: float, picture: Picture, remarks: list[str]) -> Facts:
    inside = int(np.sum((timeline.starts >= left) & (timeline.starts < right)))
    return Facts(inside, right - left, timeline.frames_per_second, picture.size, picture.rotation, remarks)


def read_frames(path: Path) -> np.ndarray:
    """Every frame of a file or a folder of frames at its own size, (F, H, W, 3) uint8.

    Raises:
        VideoError: it cannot be read, or is too large.
    """
    with open_source(Row(path, text="", name="")) as source:
        size = next(source.pictures([0], side=1)).size
        num_frames = len(source.timeline.starts)
        check_extent(path, num_frames, *size)
        frames = [picture.pixels for picture in source.pictures(list(range(num_frames)), side=min(size))]
    if len({pixels.shape for pixels in frames}) > 1:
        raise VideoError(f"{path}: its frames are not of one size; wanted a clip")
    return np.stack(frames)


def _remarks(row: Row, fps: float, seconds: float, num_frames: int, rate: float | None) -> list[str]:
    found = []
    low, high = PLAUSIBLE_RATES
    if not low <= fps <= high:
        found.append(f"{row.path}: {fps:.4g} frames per second by its own timestamps")
    if rate is not None and seconds < num_frames / rate:
        found.append(f"{row.path}: {seconds:.2f} s are shorter than {num_frames} frames at {rate:g} a second; held")
    if rate is not None and seconds * rate > MOST_FRAMES + 1:
        found.append(f"{row.path}: {seconds:.0f} s are long; windows are cut from {MOST_FRAMES} frames in the middle")
    return found
