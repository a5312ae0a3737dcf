"""A signer's landmarks -> the square around shoulders and hands, and drawings in which nobody is recognised.

Needs no MediaPipe: ``utils/reading/pose.py`` finds the landmarks. A left hand stays a left hand.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from utils.fingerspelling.drawing import MAX_HAND, Points, draw_clip
from utils.reading.bars import without_bars
from utils.reading.signer import MARGIN, Square

SHOULDERS = 200.0  # units between the shoulders, as in the packaged letters: widths of lines are in units
MAX_GAP = 0.3  # seconds that a part may be lost and is drawn between where it was and where it is again
REACH = 0.5  # of the forearm, from the wrist on: the middle of a hand that was not found
PALM = 30.0  # units that it is about that place


class Signer(NamedTuple):
    """``points`` in units; ``unit`` of them are as long as the picture's shorter side."""

    points: Points
    unit: float


def signer_of(found: Points, fps: float) -> Signer | None:
    """Of points in shares of the shorter side: short gaps filled, hands too large to be any left out; None where no
    frame shows shoulders."""
    distance = np.hypot(*(found.body[:, 0] - found.body[:, 1]).T)
    if not np.isfinite(distance).any():
        return None
    unit = SHOULDERS / float(np.nanmedian(distance))
    hands = found.hands * unit
    hands[np.ptp(hands[..., :2], axis=2).max(axis=-1) > MAX_HAND] = np.nan
    most = round(MAX_GAP * fps)
    hands = np.stack([fill_gaps(hand, most) for hand in hands])
    return Signer(Points(fill_gaps(found.body * unit, most), fill_gaps(found.face * unit, most), hands), unit)


def fill_gaps(part: np.ndarray, most: int) -> np.ndarray:
    """(F, P, D), NaN where not found: gaps of at most ``most`` frames linear in time; longer ones and the ends stay."""
    known = np.flatnonzero(np.isfinite(part).all(axis=(1, 2)))
    filled = part.copy()
    for before, after in zip(known[:-1], known[1:], strict=True):
        if 1 < after - before <= most + 1:
            filled[before : after + 1] = np.linspace(part[before], part[after], after - before + 1)
    return filled


def pose_square(signer: Signer, frames: np.ndarray, *, lost: bool = True) -> Square:
    """Around shoulders and hands of the whole clip, of which (F, h, w, 3) uint8 are some frames.

    Inside the picture and its bars where it can be; else it reaches beyond them, for no hand is cut. ``lost``: nor one
    that was not found, of whose arm the wrist was.
    """
    box, shorter = without_bars(frames), min(frames.shape[1:3])
    lows, highs = np.array([box[:2], box[2:]]) / shorter
    elbows, wrists = _lost_arms(signer.points) / signer.unit
    middles = (wrists + REACH * (wrists - elbows))[((wrists >= lows) & (wrists <= highs)).all(axis=1) & lost]
    around = [middles + sign * PALM / signer.unit for sign in (-1, 1)]
    seen = [part.reshape(-1, 2) / signer.unit for part in (signer.points.body[:, :2], signer.points.hands[..., :2])]
    held = np.clip(np.concatenate([*seen, *around]), lows, highs)
    low, high = np.nanmin(held, axis=0), np.nanmax(held, axis=0)
    extent = float((high - low).max())
    side = max(extent, min(MARGIN * extent, float((highs - lows).min())))
    left, top = (_inside(*of_axis, side) for of_axis in zip((low + high - side) / 2, lows, highs, strict=True))
    return Square(left, top, side)


def draw_signer(signer: Signer, square: Square, size: int) -> np.ndarray:
    """(F, size, size, 3) uint8 of what lies in ``square``."""
    left, top, side = (signer.unit * value for value in square)
    return draw_clip(signer.points, size, square=(left, top, side))


def _lost_arms(points: Points) -> np.ndarray:
    """(2, N, 2): elbows and wrists of either arm in those frames in which its hand was not found."""
    lost = np.isnan(points.hands).any(axis=(2, 3)).T
    return np.stack([points.body[:, 2:4][lost], points.body[:, 4:6][lost]])


def _inside(start: float, low: float, high: float, side: float) -> float:
    """Where a stretch of ``side`` begins, moved between ``low`` and ``high``, or around both if it is longer."""
    return float((low + high - side) / 2 if side > high - low else np.clip(start, low, high - side))
