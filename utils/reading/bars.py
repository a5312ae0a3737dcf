"""Black bars: lines at a picture's edge that stay black in every frame and end in a straight edge.

The edge is what a bar has and a dark wall has not: beyond it most of the line is brighter at some time. A film whose
content is dark all along a bar keeps it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BLACK = 24  # grey levels, of any channel in any frame; what codecs make of black
LIT = 48  # the same, of what stands beside a bar; a glow that fades into the dark gets there more slowly
STRAY = 0.02  # share of a line's pixels that may be brighter
EDGE = 0.5  # share of the line behind a bar, in its whole length, that has to be brighter
SOFT = 2  # px that the edge may take


class Box(NamedTuple):
    """Of a picture, px; ``right`` and ``bottom`` are the first ones outside."""

    left: int
    top: int
    right: int
    bottom: int


def without_bars(frames: np.ndarray) -> Box:
    """What is left of (F, h, w, 3) uint8 without its bars, and without the line beside each, which holds some of it."""
    level = frames.max(axis=(0, 3))  # (h, w)
    top, bottom, left, right = (_bar(lines) for lines in (level, level[::-1], level.T, level.T[::-1]))
    return Box(left, top, level.shape[1] - right, level.shape[0] - bottom)


def _bar(level: np.ndarray) -> int:
    """Lines (N, M) of grey levels from a picture's edge inwards -> how many are to go."""
    bar = int(np.argmax((level > BLACK).mean(axis=1) > STRAY))  # 0 where all are black
    edge = (level[bar : bar + SOFT] > LIT).mean(axis=1).max()
    return bar + 1 if bar and edge > EDGE else 0
