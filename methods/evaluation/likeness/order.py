"""Can a measure tell good from bad? Clips that are ever worse by construction must score ever worse.

A real clip is held against itself, itself slightly and more strongly blurred, frozen, against another sign and against
noise. A measure that does not fall along these (Kendall 1938) is called unreliable on this data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from methods.evaluation.measures import STEPS
from methods.evaluation.motion import blurred, motion_explained, moving_psnr, still_part
from methods.evaluation.pixels import psnr, ssim

LIGHT, HEAVY = 0.5, 1.0  # px, deviations of the Gaussians
NUM_LADDERS = 12  # clips, one of a caption

Ladder = dict[str, np.ndarray]  # step -> (F, H, W, 3) uint8
MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], float | None]] = {
    "psnr": psnr,
    "ssim": ssim,
    "moving_psnr": moving_psnr,
    "motion_explained": motion_explained,
}  # name -> (clip, real clip) -> more is better


def ladder(real: np.ndarray, another: np.ndarray, *, draw: np.random.Generator) -> Ladder:
    """The STEPS down from a real clip (F, H, W, 3) uint8; ``another`` is a real clip of another caption."""
    frozen = np.broadcast_to(np.round(still_part(real)).astype(np.uint8), real.shape)
    noise = 255 * draw.integers(0, 2, real.shape, dtype=np.uint8)  # black and white, as noise is that is clipped
    clips = (real, blurred(real, LIGHT), blurred(real, HEAVY), frozen, another, noise)
    return dict(zip(STEPS, clips, strict=True))


def ladders(real: Sequence[np.ndarray], captions: Sequence[str], *, seed: int) -> list[tuple[int, Ladder]]:
    """(index of a real clip, its ladder) of the first clips of at most NUM_LADDERS captions; none for one caption."""
    first = {text: captions.index(text) for text in sorted(set(captions))}
    if len(first) < 2:
        return []
    draw, own = np.random.default_rng(seed), list(first.values())
    others = own[1:] + own[:1]
    return [
        (index, ladder(real[index], real[other], draw=draw))
        for index, other in list(zip(own, others, strict=True))[:NUM_LADDERS]
    ]


def measure_order(steps: Sequence[tuple[int, Ladder]]) -> dict[str, dict[str, float | None]]:
    """Of each of MEASURES the mean over clips at every step, and its ``tau``."""
    found = {}
    for name, measure in MEASURES.items():
        values = {step: [measure(clips[step], clips["real"]) for _, clips in steps] for step in STEPS}
        known = {step: [value for value in each if value is not None] for step, each in values.items()}
        found[name] = with_tau({step: float(np.mean(each)) if each else None for step, each in known.items()})
    return found


def with_tau(values: dict[str, float | None]) -> dict[str, float | None]:
    """Step -> value, more is better, with ``tau``; None where a value is."""
    each = [values[step] for step in STEPS]
    return {**values, "tau": None if None in each else falling_tau(each)}


def falling_tau(values: Sequence[float]) -> float:
    """Kendall's tau-a of ``values`` and a falling order: 1 falls all the way, -1 rises; a tie counts for nothing."""
    signs = [np.sign(a - b) for i, a in enumerate(values) for b in values[i + 1 :]]
    return float(np.mean(signs))
