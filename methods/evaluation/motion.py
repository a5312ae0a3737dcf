"""Is the motion of generated clips alive? How far pixels move, how jerkily, and whether the hand is the right one.

A clip that stands still can satisfy every measure of a single frame. So the amplitude of generated clips is given as a
share of the real ones', beside a control that must show 0: real clips that hold their middle frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from methods.evaluation.hand_crop import MIN_SHARE, hand_mask


@dataclass(frozen=True)
class MotionFigures:
    """Clips against real ones of the same captions. A ratio is None where the real clips do not move."""

    amplitude: float  # grey levels
    amplitude_ratio: float | None  # 0: frozen, 1: as lively as real clips
    jitter: float  # no unit
    jitter_ratio: float | None  # above 1: jerkier than real clips
    hand_region_error: float | None  # grey levels, mean over clips; None where no real clip shows a hand


@dataclass(frozen=True)
class Motion:
    """Generated clips, the real clips they are measured against, and ``frozen``, the control that must not pass."""

    amplitude_real: float  # grey levels
    amplitude_generated: float
    amplitude_ratio: float | None
    jitter_real: float
    jitter_generated: float
    jitter_ratio: float | None
    hand_region_error: float | None  # grey levels
    num_hands: int  # of the generated clips, whose nearest real clip shows a hand
    frozen: MotionFigures

    def to_dict(self) -> dict[str, object]:
        """JSON types only."""
        return asdict(self)


def amplitude(clips: Sequence[np.ndarray]) -> float:
    """How much pixels move: their deviation over time, root mean square over pixels and clips, in grey levels.

    ``clips``: (F, H, W, 3) uint8 each; every clip weighs the same. A frozen clip has 0, a sinusoid of amplitude A over
    whole periods A / sqrt(2).
    """
    return float(np.sqrt(np.mean([np.mean(np.var(clip, axis=0, dtype=np.float64)) for clip in clips])))


def jitter(clips: Sequence[np.ndarray]) -> float:
    """Root of the mean square second difference in time over the mean square first difference; no unit.

    ``clips``: (F, H, W, 3) uint8 each. White noise has sqrt(6 / 2), a fade at constant speed 0. Defined as 0 where
    nothing moves or no clip has three frames.
    """
    firsts = [np.diff(clip.astype(np.float64), axis=0) for clip in clips if len(clip) >= 3]
    if not firsts:
        return 0.0
    speed = float(np.mean([np.mean(first**2) for first in firsts]))
    turn = float(np.mean([np.mean(np.diff(first, axis=0) ** 2) for first in firsts]))
    return (turn / speed) ** 0.5 if speed > 0 else 0.0


def hand_region_error(generated: np.ndarray, real: np.ndarray) -> float | None:
    """RMS error in grey levels where either clip shows a hand, or a pixel beside it; None if ``real`` shows none.

    Both (F, H, W, 3) uint8. White background, which any clip gets right, is left out.
    """
    real_hand = hand_mask(real)
    if real_hand.mean() < MIN_SHARE:
        return None
    region = _dilate(real_hand | hand_mask(generated))
    return float(np.sqrt(np.mean((generated[region].astype(np.float64) - real[region]) ** 2)))


def hold_middle(clip: np.ndarray) -> np.ndarray:
    """(F, H, W, 3) uint8 -> the same shape, every frame its middle one, F // 2."""
    return np.repeat(clip[len(clip) // 2][None], len(clip), axis=0)


def measure_motion(
    generated: Sequence[np.ndarray],
    captions: Sequence[str],
    real: Sequence[np.ndarray],
    real_captions: Sequence[str],
) -> Motion:
    """``generated`` made for ``captions`` against ``real`` with ``real_captions``; all clips (F, H, W, 3) uint8.

    Only real clips of an asked caption count, each once. The error of a generated clip is taken against the nearest
    real clip of its caption, by the mean squared error of the whole picture.

    Raises:
        ValueError: no clip, or a caption without any real clip.
    """
    asked = set(captions)
    if not generated or not asked <= set(real_captions):
        missing = sorted(asked - set(real_captions))
        raise ValueError(f"{len(generated)} generated clips; captions without a real clip: {missing}")
    kept = [(clip, caption) for clip, caption in zip(real, real_captions, strict=True) if caption in asked]
    clips, texts = [clip for clip, _ in kept], [caption for _, caption in kept]
    still, moved, jerked = [hold_middle(clip) for clip in clips], amplitude(clips), jitter(clips)
    made, num_hands = _figures(generated, captions, clips, texts, moved=moved, jerked=jerked)
    return Motion(
        amplitude_real=moved,
        amplitude_generated=made.amplitude,
        amplitude_ratio=made.amplitude_ratio,
        jitter_real=jerked,
        jitter_generated=made.jitter,
        jitter_ratio=made.jitter_ratio,
        hand_region_error=made.hand_region_error,
        num_hands=num_hands,
        frozen=_figures(still, texts, clips, texts, moved=moved, jerked=jerked)[0],
    )


def _figures(
    made: Sequence[np.ndarray],
    captions: Sequence[str],
    real: Sequence[np.ndarray],
    real_captions: Sequence[str],
    *,
    moved: float,
    jerked: float,
) -> tuple[MotionFigures, int]:
    """Figures of ``made``, and how many of its clips have a hand to be compared with."""
    now, jerk, errors = amplitude(made), jitter(made), []
    for clip, caption in zip(made, captions, strict=True):
        own = [other for other, text in zip(real, real_captions, strict=True) if text == caption]
        nearest = min(own, key=lambda other: float(np.mean((clip.astype(np.float32) - other) ** 2)))
        errors.append(hand_region_error(clip, nearest))
    known = [error for error in errors if error is not None]
    figures = MotionFigures(
        amplitude=now,
        amplitude_ratio=now / moved if moved > 0 else None,
        jitter=jerk,
        jitter_ratio=jerk / jerked if jerked > 0 else None,
        hand_region_error=float(np.mean(known)) if known else None,
    )
    return figures, len(known)


def _dilate(mask: np.ndarray) -> np.ndarray:
    """(F, H, W) bool -> the same, grown by one pixel in all eight directions of its frame."""
    rows = np.pad(mask, ((0, 0), (1, 1), (0, 0)))
    tall = rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]
    columns = np.pad(tall, ((0, 0), (0, 0), (1, 1)))
    return columns[..., :-2] | columns[..., 1:-1] | columns[..., 2:]
