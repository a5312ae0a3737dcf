"""A judge that reads sentences: trained on windows of single real signs alone, it slides over a whole clip.

Where each sign stands in a real clip is what the data tell (``Row.spans``); of a clip that it reads it is told nothing,
neither how many signs there are nor where. It sees no seam and no generated clip in training.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dataset import TextToSignDataset
from methods.evaluation.judge import MOMENTS, SIZE, Sign, pictures_of, train_recogniser
from methods.evaluation.reading.decode import Window, best_reading, word_errors
from methods.evaluation.scores import Score
from utils import runtime
from utils.layouts.listing import Span
from utils.video import frame_indices, resize_and_crop

SPANS, CROPS = 12, 4  # of each sign so many at most; of each the whole, and parts of it drawn by the seed
LEAST = 0.6  # of a span that such a part holds
SLACK = 1.2  # times the longest share of a clip that a sign has, and over the shortest: what windows are tried


class Reader:
    """A trained recogniser that reads whole clips: ``read``."""

    def __init__(
        self,
        signs: Sequence[tuple[str, np.ndarray]],
        shares: Sequence[float],
        *,
        seed: int,
        num_steps: int,
        network: str,
    ) -> None:
        """Of single real ``signs``, each a name and its frames (F, H, W, 3) uint8; ``shares`` of their clips that they
        take. A function of all of these."""
        self.names = sorted({name for name, _ in signs})
        self.shortest, self.longest = min(shares) / SLACK, max(shares) * SLACK
        draw = np.random.default_rng(runtime.derive_seed(seed, "reader", "crops"))
        shown = [sign for name, frames in signs for sign in _crops(name, frames, draw)]
        self.network, self.num_steps = train_recogniser(
            shown, self.names, seed=seed, num_steps=num_steps, network=network
        )

    @torch.no_grad()
    def read(self, clip: np.ndarray) -> list[str]:
        """The signs of a clip (F, H, W, 3) uint8, in order, as many as it seems to have."""
        small = resize_and_crop(clip, SIZE)
        seen = self.network.look(pictures_of([Sign(small, "")])[0])  # (F, width)
        found = windows(len(clip), self.shortest, self.longest)
        moments = torch.stack([seen[_moments(window)] for window in found])  # (W, MOMENTS, width)
        scores, labels = self.network.name(self.network.over_time(moments)).log_softmax(1).max(1)
        by_window = dict(zip(found, scores.tolist(), strict=True))
        label_of = dict(zip(found, labels.tolist(), strict=True))
        return [self.names[label_of[window]] for window in best_reading(by_window, len(clip))]

    def score(self, found: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]]) -> dict[str, object] | None:
        """Of readings of clips with the ``wanted`` signs; None if it knows none of these. Plain JSON types."""
        in_order = self.in_order(found, wanted)
        if in_order is None:
            return None
        pairs = self._known(found, wanted)
        errors = sum(word_errors(*pair) for pair in pairs)
        return {
            "word_error_rate": errors / sum(len(other) for _, other in pairs),
            "in_order": in_order.to_dict(),
        }

    def in_order(self, found: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]]) -> Score | None:
        """Clips whose signs are all read, and no others, in order.

        Chance is that of signs drawn blindly, as many as the shortest sentence has.
        """
        pairs = self._known(found, wanted)
        if not pairs:
            return None
        chance = len(self.names) ** -min(len(other) for _, other in pairs)
        return Score(sum(list(one) == list(other) for one, other in pairs), len(pairs), chance)

    def _known(
        self, found: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]]
    ) -> list[tuple[Sequence[str], Sequence[str]]]:
        return [pair for pair in zip(found, wanted, strict=True) if pair[1] and set(pair[1]) <= set(self.names)]


def train_reader(
    data: TextToSignDataset, rows: Sequence[int], *, seed: int, num_steps: int, network: str
) -> Reader | None:
    """Of the spans of the real clips ``rows``; None where they have none, or are windows of clips (FRAME_SPACING)."""
    order = np.random.default_rng(runtime.derive_seed(seed, "reader", "clips")).permutation(len(rows))
    taken: dict[str, list[np.ndarray]] = {}
    shares = []
    for row in (rows[i] for i in order):
        for span in data.rows[row].spans:
            seconds, of_sign = data.facts[row].seconds, taken.setdefault(span.sign, [])
            shares.append((span.end - span.start) / seconds)
            if len(of_sign) < SPANS:
                of_sign.append(data.frames(row)[frames_of(span, seconds, len(data.frames(row)))])
    signs = [(name, frames) for name, of_sign in sorted(taken.items()) for frames in of_sign]
    return Reader(signs, shares, seed=seed, num_steps=num_steps, network=network) if len(taken) > 1 else None


def frames_of(span: Span, seconds: float, num_frames: int) -> slice:
    """The frames, of ``num_frames`` evenly over a clip, whose middle lies in the span; at least one."""
    start, end = (round(edge / seconds * num_frames) for edge in (span.start, span.end))
    start = min(start, num_frames - 1)
    return slice(start, max(start + 1, end))


def windows(num_frames: int, shortest: float, longest: float) -> list[Window]:
    """All of two frames and more, and of ``shortest`` to ``longest`` as shares of ``num_frames``."""
    low, high = max(2, round(shortest * num_frames)), min(num_frames, round(longest * num_frames))
    low = min(low, num_frames)
    return [
        Window(start, start + length)
        for length in range(low, max(low, high) + 1)
        for start in range(num_frames - length + 1)
    ]


def _moments(window: Window) -> np.ndarray:
    return window.start + frame_indices(window.end - window.start, MOMENTS)


def _crops(name: str, frames: np.ndarray, draw: np.random.Generator) -> list[Sign]:
    """The sign, whole and CROPS - 1 times a part of it, at MOMENTS each."""
    small, found = resize_and_crop(frames, SIZE), []
    for nth in range(CROPS):
        length = len(small) if nth == 0 else round(len(small) * draw.uniform(LEAST, 1.0))
        start = int(draw.integers(len(small) - max(1, length) + 1))
        found.append(Sign(small[start + frame_indices(max(1, length), MOMENTS)], name))
    return found
