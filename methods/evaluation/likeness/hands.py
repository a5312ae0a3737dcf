"""Are there hands in generated clips, where real clips have them, and do they move as those do?

Landmarks come from MediaPipe on clips scaled up (utils/reading/pose.py), so a hand counts that a detector sees, not one
that a pixel measure forgives. Distances are in hand sizes: the median over the real clip of the longer side of the box
around a hand. Each generated clip is held against the nearest real clip of its caption.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from methods.evaluation.likeness.order import Ladder, with_tau
from methods.evaluation.measures import STEPS
from methods.evaluation.motion import nearest

WITHIN = 0.2  # hand sizes: a point so near counts as right (PCK, Yang & Ramanan 2013)
MISSED = 2.0  # hand sizes that a hand counts as away which is not there, or farther

Points = np.ndarray  # (F, 2, 21, 2) px, NaN where no hand was found
Find = Callable[[np.ndarray], Points]


@dataclass(frozen=True)
class Agreement:
    """The hands of a clip against those of a real one of F frames."""

    num_frames: int  # of the real clip, with a hand
    num_found: int  # of these, with a hand in the clip, too
    within: float  # share of the points of real hands with their like within WITHIN, summed over those frames
    distance: float  # mean distance of points, in hand sizes, summed over the frames in which both have hands
    warped: float  # that distance along the best path through both clips' frames with hands


def agreement(made: Points, real: Points) -> Agreement | None:
    """None where the real clip shows no hand. A real hand is compared with the nearest of the clip's in its frame."""
    there = ~np.isnan(real[..., 0, 0])  # (F, 2)
    if not there.any():
        return None
    size = np.median(np.ptp(real[there], axis=1).max(axis=1))
    pairs = np.linalg.norm(real[:, None, :, None] - made[None, :, None], axis=-1) / max(size, 1e-9)
    means = np.where(np.isnan(pairs[..., 0]), np.inf, pairs.mean(axis=-1))  # (F, F, 2, 2): real, made, real's, made's
    best = means.min(axis=3)  # (F, F, 2)
    shown, found = there.any(axis=1), ~np.isnan(made[..., 0, 0]).all(axis=1)
    costs = np.where(there[:, None], np.minimum(best, MISSED), np.nan)[shown][:, found]
    both = np.flatnonzero(shown & found)
    near = [
        np.mean([(pairs[i, i, hand, means[i, i, hand].argmin()] < WITHIN).mean() for hand in np.flatnonzero(there[i])])
        for i in both
    ]
    apart = [best[i, i][there[i]].mean() for i in both]
    return Agreement(
        int(shown.sum()), len(both), float(np.sum(near)), float(np.sum(apart)), warped(np.nanmean(costs, axis=2))
    )


def warped(costs: np.ndarray) -> float:
    """Dynamic time warping (Sakoe & Chiba 1978): the least sum of ``costs`` (n, m) on a path from corner to corner.

    A step goes on in either clip or in both. The mean is over the path and, where m is less than n, over the n - m
    frames that lack a hand; these cost MISSED.
    """
    n, m = costs.shape
    if m == 0:
        return MISSED
    lacking = max(0, n - m)
    total, length = np.full((n + 1, m + 1), np.inf), np.zeros((n + 1, m + 1))
    total[0, 0] = 0
    for i in range(n):
        for j in range(m):
            before = min(((i, j), (i, j + 1), (i + 1, j)), key=lambda cell: total[cell])
            total[i + 1, j + 1], length[i + 1, j + 1] = total[before] + costs[i, j], length[before] + 1
    return float((total[n, m] + lacking * MISSED) / (length[n, m] + lacking))


def summary(agreements: Sequence[Agreement | None]) -> dict[str, float | None]:
    """Over clips, by name: ``found`` and ``pck`` as shares of frames with a real hand, a hand that is missed counting
    as none within; ``distance`` where both have one; ``ndtw``, the mean of clips."""
    known = [each for each in agreements if each is not None]
    frames, found = (sum(getattr(each, name) for each in known) for name in ("num_frames", "num_found"))
    return {
        "num_frames": frames,
        "found": found / frames if frames else None,
        "pck": sum(each.within for each in known) / frames if frames else None,
        "distance": sum(each.distance for each in known) / found if found else None,
        "ndtw": float(np.mean([each.warped for each in known])) if known else None,
    }


def measure_hands(
    generated: Sequence[np.ndarray],
    captions: Sequence[str],
    real: Sequence[np.ndarray],
    real_captions: Sequence[str],
    *,
    ladders: Sequence[tuple[int, Ladder]],
    find: Find,
    decoded: Sequence[np.ndarray] = (),
) -> dict[str, dict[str, float | None]] | None:
    """``summary`` of ``generated`` made for ``captions``, of each step of ``ladders``, of ``real_again``, another
    real clip of the caption, and of those of ``ladders`` as an autoencoder has ``decoded`` them, if it has.

    None where real clips show no hand. ``find`` looks for hands in a clip, once in each."""
    of_real = cache(lambda index: find(real[index]))
    own = {text: [i for i, other in enumerate(real_captions) if other == text] for text in captions}
    if not any(np.isfinite(of_real(i)).any() for rows in own.values() for i in rows):
        return None
    pairs = [(clip, nearest(clip, real, own[text])) for clip, text in zip(generated, captions, strict=True)]
    again = [(rows[1], rows[0]) for rows in own.values() if len(rows) > 1]
    found = {"generated": summary([agreement(find(clip), of_real(index)) for clip, index in pairs])}
    for step in STEPS:
        seen = ((_find(step, clips[step], find), of_real(index)) for index, clips in ladders)
        found[step] = summary([agreement(*pair) for pair in seen])
    if decoded:
        found["decoded"] = summary([agreement(find(decoded[index]), of_real(index)) for index, _ in ladders])
    found["real_again"] = summary([agreement(of_real(a), of_real(b)) for a, b in again])
    return found


def _find(step: str, clip: np.ndarray, find: Find) -> Points:
    """A frozen clip is looked at once."""
    return np.repeat(find(clip[:1]), len(clip), axis=0) if step == "frozen" else find(clip)


def order_of_hands(hands: dict[str, dict[str, float | None]]) -> dict[str, dict[str, float | None]]:
    """The order check of ``found``, ``pck`` and ``ndtw``, as ``measure_order`` has it."""
    signs = {"found": 1, "pck": 1, "ndtw": -1}  # more is better
    found = {}
    for name, sign in signs.items():
        values = {step: hands[step][name] for step in STEPS}
        tau = with_tau({step: None if value is None else sign * value for step, value in values.items()})["tau"]
        found[f"hands_{name}"] = {**values, "tau": tau}
    return found
