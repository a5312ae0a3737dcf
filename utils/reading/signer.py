"""Where and when a clip signs: the square around all that moves, and the time between rest and rest.

Both come from small grey levels of the whole clip, its black bars left out; no person is looked for. What moves is
what differs from the clip's own median, so a camera that pans, or a second mover, makes the square as large as the
picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from utils.reading.bars import Box, without_bars

MOVES = 25  # grey levels, in any channel
TAIL = 0.005  # share of the movement beyond either end of the extent, so that stray pixels do not count
MARGIN = 1.2  # of the square over the extent
REST = 0.1  # of the movement of the liveliest frame; quieter ends are rest
KEPT = 0.15  # seconds of rest that stay at both ends


class Square(NamedTuple):
    """Left, top and side as shares of the picture's shorter side."""

    left: float
    top: float
    side: float


def moving(frames: np.ndarray) -> np.ndarray:
    """(F, h, w, 3) uint8 -> (F, h, w) bool."""
    return (np.abs(frames - np.median(frames, axis=0)) > MOVES).any(axis=3)


def signing_square(frames: np.ndarray) -> Square:
    """Of (F, h, w, 3) uint8; inside the picture and its bars, and its middle where nothing moves."""
    box = without_bars(frames)
    counts = moving(frames[:, box.top : box.bottom, box.left : box.right]).sum(axis=0)
    if not counts.any():
        return middle_square(frames)
    left, right = (box.left + end for end in _extent(counts.sum(axis=0)))
    top, bottom = (box.top + end for end in _extent(counts.sum(axis=1)))
    side = MARGIN * max(right - left, bottom - top)
    return _square((left + right) / 2, (top + bottom) / 2, side, box=box, shorter=min(frames.shape[1:3]))


def middle_square(frames: np.ndarray) -> Square:
    """The largest in the middle of (F, h, w, 3) uint8 without its bars."""
    box = without_bars(frames)
    x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    return _square(x, y, np.inf, box=box, shorter=min(frames.shape[1:3]))


def _square(x: float, y: float, side: float, *, box: Box, shorter: int) -> Square:
    """Around (x, y) px, moved and made smaller until ``box`` holds it; in shares of ``shorter`` px."""
    side = min(side, box.right - box.left, box.bottom - box.top)
    left = min(max(x - side / 2, box.left), box.right - side)
    top = min(max(y - side / 2, box.top), box.bottom - side)
    return Square(left / shorter, top / shorter, side / shorter)


def around(squares: Sequence[Square]) -> Square:
    """The smallest square that holds all ``squares`` of a set of one picture size, moved inside where it can be.

    Where they reach farther across than the picture is high, the middle of them.
    """
    left, top = min(s.left for s in squares), min(s.top for s in squares)
    right, bottom = max(s.left + s.side for s in squares), max(s.top + s.side for s in squares)
    side = min(max(right - left, bottom - top), 1.0)
    return Square(max(left, (left + right - side) / 2), min(top, 1.0 - side), side)


def signing_time(frames: np.ndarray, starts: np.ndarray, end: float) -> tuple[float, float]:
    """(start, end) in seconds of (F, h, w, 3) uint8 that appear at ``starts``; the whole where nothing moves."""
    lively = moving(frames).mean(axis=(1, 2))
    awake = np.flatnonzero(lively > REST * lively.max())
    if not len(awake):
        return float(starts[0]), end
    ends = np.append(starts[1:], end)
    return max(float(starts[0]), float(starts[awake[0]]) - KEPT), min(end, float(ends[awake[-1]]) + KEPT)


def away_from_rest(frames: np.ndarray, starts: np.ndarray, end: float) -> tuple[float, float]:
    """As ``signing_time`` without a breath, where rest is what looks as the first frame does: a sign that is held until
    the clip ends is no rest. One or two frames that a cut has left at an end do not count."""
    away = (np.abs(frames - frames[:1].astype(int)) > MOVES).any(axis=3).mean(axis=(1, 2))
    awake = np.flatnonzero(away > REST * np.sort(away)[-3:][0])
    if not len(awake):
        return float(starts[0]), end
    return float(starts[awake[0]]), float(np.append(starts[1:], end)[awake[-1]])


def _extent(counts: np.ndarray) -> tuple[float, float]:
    """Counts (N,) of N adjacent pixels -> the ends of what holds all but TAIL of them at either side, in px."""
    passed = np.cumsum(counts) / counts.sum()
    first = int(np.searchsorted(passed, TAIL, side="right"))
    return float(first), float(np.searchsorted(passed, 1 - TAIL) + 1)
