"""Where and when a clip signs: the square around all that moves, and the time between rest and rest.

Both come from small grey levels of the whole clip; no person is looked for. What moves is what differs from the clip's
own median, so a camera that pans, or a second mover, makes the square as large as the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

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
    """Of (F, h, w, 3) uint8; inside the picture, and its middle where nothing moves."""
    height, width = frames.shape[1:3]
    shorter = min(height, width)
    counts = moving(frames).sum(axis=0)  # (h, w)
    if not counts.any():
        return Square((width - shorter) / 2 / shorter, (height - shorter) / 2 / shorter, 1.0)
    left, right = _extent(counts.sum(axis=0))
    top, bottom = _extent(counts.sum(axis=1))
    side = min(MARGIN * max(right - left, bottom - top), shorter)
    x = min(max((left + right - side) / 2, 0), width - side)
    y = min(max((top + bottom - side) / 2, 0), height - side)
    return Square(x / shorter, y / shorter, side / shorter)


def around(squares: Sequence[Square]) -> Square:
    """The smallest square that holds all ``squares`` of a set of one picture size, moved inside where it can be."""
    left, top = min(s.left for s in squares), min(s.top for s in squares)
    side = max(max(s.left + s.side for s in squares) - left, max(s.top + s.side for s in squares) - top)
    side = min(side, 1.0)
    return Square(left, min(top, 1.0 - side), side)


def signing_time(frames: np.ndarray, starts: np.ndarray, end: float) -> tuple[float, float]:
    """(start, end) in seconds of (F, h, w, 3) uint8 that appear at ``starts``; the whole where nothing moves."""
    lively = moving(frames).mean(axis=(1, 2))
    awake = np.flatnonzero(lively > REST * lively.max())
    if not len(awake):
        return float(starts[0]), end
    ends = np.append(starts[1:], end)
    return max(float(starts[0]), float(starts[awake[0]]) - KEPT), min(end, float(ends[awake[-1]]) + KEPT)


def _extent(counts: np.ndarray) -> tuple[float, float]:
    """Counts (N,) of N adjacent pixels -> the ends of what holds all but TAIL of them at either side, in px."""
    passed = np.cumsum(counts) / counts.sum()
    first = int(np.searchsorted(passed, TAIL, side="right"))
    return float(first), float(np.searchsorted(passed, 1 - TAIL) + 1)
