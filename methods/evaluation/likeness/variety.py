"""Where a caption has several real clips: are generated ones as various, as good, and do they cover what is real?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

NEIGHBOURS = 3  # Kynkaanniemi et al. 2019


def measure_variety(
    generated: Sequence[np.ndarray],
    captions: Sequence[str],
    real: Sequence[np.ndarray],
    real_captions: Sequence[str],
    *,
    features: tuple[np.ndarray, np.ndarray],
) -> dict[str, float | int | None] | None:
    """Of the captions with several real and several generated clips, (F, H, W, 3) uint8; None where there are none.

    ``spread_...`` in grey levels, and ``ratio``: 0 is one clip for ever, 1 as various as real ones. ``precision`` and
    ``recall`` in the judge's ``features``, one row a generated and one a real clip.
    """
    several = {text for text, num in Counter(real_captions).items() if num > 1}
    several &= {text for text, num in Counter(captions).items() if num > 1}
    if not several:
        return None
    made, there = ([i for i, text in enumerate(texts) if text in several] for texts in (captions, real_captions))
    spread_made = spread([generated[i] for i in made], [captions[i] for i in made])
    spread_real = spread([real[i] for i in there], [real_captions[i] for i in there])
    precision, recall = precision_and_recall(features[0][made], features[1][there])
    return {
        "num_captions": len(several),
        "spread_generated": spread_made,
        "spread_real": spread_real,
        "ratio": spread_made / spread_real if spread_real else None,
        "precision": precision,
        "recall": recall,
    }


def spread(clips: Sequence[np.ndarray], captions: Sequence[str]) -> float:
    """Deviation of clips around the mean of their caption, root mean square over pixels and captions, in grey levels.

    Unbiased by their number: the variance is over n - 1.
    """
    variances = []
    for caption in sorted(set(captions)):
        own = [clip for clip, text in zip(clips, captions, strict=True) if text == caption]
        variances.append(np.var(np.stack(own), axis=0, ddof=1, dtype=np.float64).mean())
    return float(np.sqrt(np.mean(variances)))


def precision_and_recall(made: np.ndarray, real: np.ndarray) -> tuple[float, float]:
    """Improved precision and recall (Kynkaanniemi et al. 2019, eq. 1-3) of features (N, D) against (M, D).

    A point lies in a set's manifold if some point of that set is nearer to it than to its own NEIGHBOURS-th neighbour.
    Manifolds of points that are all alike hold nothing but these.
    """
    return _covered(made, by=real), _covered(real, by=made)


def _covered(points: np.ndarray, *, by: np.ndarray) -> float:
    """The share of ``points`` in the manifold of ``by``."""
    inside = _distances(by, by)
    radii = np.sort(inside, axis=1)[:, min(NEIGHBOURS, len(by) - 1)]  # the nearest is the point itself
    return float((_distances(points, by) <= radii).any(axis=1).mean())


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a[:, None].astype(np.float64) - b[None], axis=2)
