"""Where in a drawn clip the signing hand is: the coloured pixels, the square around them, and a picture of it alone.

Fingers are the only saturated colours of a drawing (utils/fingerspelling/drawing.py), so no detector is needed. The
square follows the hand, so a drawing that is shifted or scaled as a whole gives nearly the same crop.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

MIN_CHROMA = 60  # grey levels: the palm has 24 and stays out, the shaded edge of a green finger has 63 and stays in
MIN_SHARE = 0.005  # of a clip's pixels that are coloured; with fewer there is no hand
TAIL = 0.02  # share of the coloured pixels beyond either end of the extent: stray ones do not move the square
MARGIN = 1.3  # of the square over that extent: fingertips and the palm are inside
WHITE = 255

Square = tuple[float, float, float]  # x0, y0, side in px; pixel (0, 0) covers [0, 1) x [0, 1)


def hand_mask(frames: np.ndarray) -> np.ndarray:
    """(..., 3) uint8 -> (...) bool: pixels whose largest channel is more than MIN_CHROMA above the smallest."""
    red, green, blue = frames[..., 0], frames[..., 1], frames[..., 2]
    highest = np.maximum(np.maximum(red, green), blue)
    return highest - np.minimum(np.minimum(red, green), blue) > MIN_CHROMA  # never negative, so uint8 is enough


def hand_square(frames: np.ndarray) -> Square | None:
    """(F, H, W, 3) uint8 -> one square for all frames, around where coloured pixels are; None without a hand.

    Its centre and side come from quantiles of their columns and rows, to a fraction of a pixel. It may reach beyond the
    picture.
    """
    mask = hand_mask(frames)
    if mask.mean() < MIN_SHARE:
        return None
    counts = mask.sum(axis=0)  # (H, W)
    left, right = _extent(counts.sum(axis=0))
    top, bottom = _extent(counts.sum(axis=1))
    side = max(MARGIN * max(right - left, bottom - top), 1.0)  # px; all that is coloured may lie in one column
    return (left + right - side) / 2, (top + bottom - side) / 2, side


def hand_crop(frames: np.ndarray, size: int) -> np.ndarray | None:
    """(F, H, W, 3) uint8 -> (F, size, size, 3) uint8, what lies in ``hand_square``; None without a hand.

    Bilinear, antialiased downwards; white outside the picture.
    """
    square = hand_square(frames)
    if square is None:
        return None
    x0, y0, side = square
    height, width = frames.shape[1:3]
    before = [max(0, math.ceil(-start)) for start in (y0, x0)]
    after = [max(0, math.ceil(start + side - end)) for start, end in ((y0, height), (x0, width))]
    pads = ((0, 0), (before[0], after[0]), (before[1], after[1]), (0, 0))
    padded = np.pad(frames, pads, constant_values=WHITE)
    left, top = x0 + before[1], y0 + before[0]
    box = (left, top, min(left + side, padded.shape[2]), min(top + side, padded.shape[1]))  # rounding stays inside
    pictures = (Image.fromarray(frame) for frame in padded)
    return np.stack([np.asarray(p.resize((size, size), Image.Resampling.BILINEAR, box=box)) for p in pictures])


def _extent(counts: np.ndarray) -> tuple[float, float]:
    """Counts (N,) of N adjacent pixels -> where TAIL and 1 - TAIL of them are passed, in px, linear inside a pixel."""
    passed = np.concatenate([[0.0], np.cumsum(counts)]) / counts.sum()
    low, high = (float(np.interp(share, passed, np.arange(len(passed)))) for share in (TAIL, 1 - TAIL))
    return low, high
