"""Is the motion of generated clips that of real ones? Whole pictures cannot tell: most of their pixels stand still.

Each generated clip is held against the nearest real clip of its caption. Beside each figure stands what a frozen clip
gets, the real clip's still part all along, and what the real clip itself gets after a light blur: floor and ceiling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

from methods.evaluation.pixels import psnr, ssim

MOVES = 25  # grey levels: a pixel moves in a frame that differs by more from the still part, in any channel
BLUR = 1.0  # px, deviation of the ceiling's Gaussian


def amplitude(clips: Sequence[np.ndarray]) -> float:
    """How much pixels move: their deviation over time, root mean square over pixels and clips, in grey levels.

    ``clips``: (F, H, W, 3) uint8 each; every clip weighs the same. A frozen clip has 0, a sinusoid of amplitude A over
    whole periods A / sqrt(2).
    """
    return float(np.sqrt(np.mean([np.mean(np.var(clip, axis=0, dtype=np.float64)) for clip in clips])))


def still_part(clip: np.ndarray) -> np.ndarray:
    """(F, H, W, 3) uint8 -> (H, W, 3) float64: each pixel's median over time."""
    return np.median(clip, axis=0)


def moving_psnr(generated: np.ndarray, real: np.ndarray) -> float | None:
    """PSNR in dB over the pixels of ``real`` that move, all channels; None where none does. Both (F, H, W, 3)."""
    moving = (np.abs(real - still_part(real)) > MOVES).any(axis=3)
    if not moving.any():
        return None
    error = np.mean((generated[moving].astype(np.float64) - real[moving]) ** 2)
    return 10 * math.log10(255**2 / max(error, 1e-2))


def motion_explained(generated: np.ndarray, real: np.ndarray) -> float | None:
    """1 - sum (generated - real)^2 / sum (real - still part)^2 over all pixels; None where ``real`` stands still.

    1 is the real clip, 0 its still part, negative worse than frozen. Both (F, H, W, 3).
    """
    moved = np.sum((real - still_part(real)) ** 2)
    return None if moved == 0 else 1 - float(np.sum((generated.astype(np.float64) - real) ** 2) / moved)


def temporal_consistency(clip: np.ndarray) -> float | None:
    """Mean SSIM of neighbouring frames, (F, H, W, 3): 1 stands still, flicker lowers it; None of one frame."""
    return ssim(clip[1:], clip[:-1]) if len(clip) > 1 else None


def blurred(clip: np.ndarray, deviation: float = BLUR) -> np.ndarray:
    """(F, H, W, 3) uint8 -> the same after a Gaussian of so many px."""
    blur = ImageFilter.GaussianBlur(deviation)
    return np.stack([np.asarray(Image.fromarray(frame).filter(blur)) for frame in clip])


def measure_motion(
    generated: Sequence[np.ndarray],
    captions: Sequence[str],
    real: Sequence[np.ndarray],
    real_captions: Sequence[str],
) -> dict[str, float | int | None]:
    """``generated`` made for ``captions`` against ``real`` with ``real_captions``; all clips (F, H, W, 3) uint8.

    Means over generated clips by name, in grey levels (``amplitude``) and dB (PSNR); None where no real clip moves.

    Raises:
        ValueError: no clip, or a caption without any real clip.
    """
    own = {text: [row for row, other in enumerate(real_captions) if other == text] for text in captions}
    if not generated or not all(own.values()):
        missing = sorted(text for text, clips in own.items() if not clips)
        raise ValueError(f"{len(generated)} generated clips; captions without a real clip: {missing}")
    pairs = [(clip, real[nearest(clip, real, own[text])]) for clip, text in zip(generated, captions, strict=True)]
    frozen = [(np.broadcast_to(still_part(clip), clip.shape), clip) for _, clip in pairs]
    light = [(blurred(clip), clip) for _, clip in pairs]
    others = [[other for other in own.get(text, []) if other != row] for row, text in enumerate(real_captions)]
    again = [(real[row], real[nearest(real[row], real, rows)]) for row, rows in enumerate(others) if rows]
    moved, made = amplitude([real[row] for rows in own.values() for row in rows]), amplitude(generated)
    explained = [motion_explained(*pair) for pair in pairs]
    return {
        "amplitude_real": moved,
        "amplitude_generated": made,
        "amplitude_ratio": made / moved if moved > 0 else None,  # 0: frozen, 1: as lively as real clips
        "moving_psnr": _mean([moving_psnr(*pair) for pair in pairs]),
        "moving_psnr_frozen": _mean([moving_psnr(*pair) for pair in frozen]),
        "moving_psnr_blurred": _mean([moving_psnr(*pair) for pair in light]),
        "explained": _mean(explained),
        "explained_worst": min((found for found in explained if found is not None), default=None),
        "explained_blurred": _mean([motion_explained(*pair) for pair in light]),
        "ssim": _mean([ssim(*pair) for pair in pairs]),  # of whole pictures
        "num_pairs": len(pairs),
        "num_real_again": len(again),  # real clips of whose caption there is another
        "psnr_real_again": _mean([psnr(*pair) for pair in again]),
        "ssim_real_again": _mean([ssim(*pair) for pair in again]),
        "consistency": _mean([temporal_consistency(clip) for clip in generated]),
        "consistency_real": _mean([temporal_consistency(real[row]) for rows in own.values() for row in rows]),
    }


def nearest(clip: np.ndarray, real: Sequence[np.ndarray], rows: Sequence[int]) -> int:
    """Which of the ``rows`` of ``real`` is nearest, by the mean squared error of the whole picture."""
    return min(rows, key=lambda row: float(np.mean((clip.astype(np.float32) - real[row]) ** 2)))


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
