"""Clips of single signs -> the frames of a sentence: rest cut at the seams, a short blend between.

Pictures are blended as they lie, so hands fade from one place to the other, and do not travel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.fingerspelling.joining import minimum_jerk


@dataclass(frozen=True)
class Sign:
    """A clip of one sign: ``frames`` (F, h, w, 3) uint8, of which those from ``start`` to before ``end`` move."""

    frames: np.ndarray
    start: int
    end: int


def compose(signs: Sequence[Sign], *, num_blended: int) -> tuple[np.ndarray, list[slice]]:
    """(F, h, w, 3) uint8 and the frames of each sign: rest stays before the first and after the last alone.

    Between two signs ``num_blended`` frames go from the last of the one to the first of the other.
    """
    pieces, spans, done = [signs[0].frames[: signs[0].start]], [], signs[0].start
    for nth, sign in enumerate(signs):
        if nth:
            between = blend(pieces[-1][-1], sign.frames[sign.start], num_blended)
            pieces.append(between)
            done += num_blended
        pieces.append(sign.frames[sign.start : sign.end])
        spans.append(slice(done, done + sign.end - sign.start))
        done = spans[-1].stop
    return np.concatenate([*pieces, signs[-1].frames[signs[-1].end :]]), spans


def blend(last: np.ndarray, first: np.ndarray, num_frames: int) -> np.ndarray:
    """(h, w, 3) uint8 twice -> (num_frames, h, w, 3) between them, from rest to rest (``minimum_jerk``)."""
    share = minimum_jerk((np.arange(num_frames) + 1) / (num_frames + 1))[:, None, None, None]
    return np.rint((1 - share) * last + share * first).astype(np.uint8)
