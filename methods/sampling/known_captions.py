"""The captions that a model was trained on, and how far a prompt lies from them: what a prompt may hope for.

A distance is between standardised pooled features, as the model sees them: the root of the mean over the channels of
the squared difference. Two captions that have nothing in common are about 1.4 apart. What counts as far is the
training captions' own spread: how far each lies from the nearest other one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from models.text_encoder import TextEncoder
from models.text_features import TextStandardiser

MOST = 4096  # captions that are kept, evenly out of all in alphabetical order


class Nearest(NamedTuple):
    """A training caption and its distance from a prompt."""

    caption: str
    distance: float


@dataclass(frozen=True)
class Nearness:
    """A prompt against the training captions; ``nearest`` first. ``spread`` is the median distance of these from the
    nearest other one, ``farthest`` the largest."""

    prompt: str
    nearest: list[Nearest]
    spread: float
    farthest: float

    @property
    def is_far(self) -> bool:
        """Whether no training caption lies as far from all others as the prompt does from all of them."""
        return self.nearest[0].distance > self.farthest + 1e-4

    def __str__(self) -> str:
        caption, distance = self.nearest[0]
        own = f"training captions lie {self.spread:.2f} from the nearest other one, at most {self.farthest:.2f}"
        start = "resembles nothing that was trained on" if self.is_far else "lies as near as these lie to each other"
        return f"{self.prompt[:60]!r} {start}: {distance:.2f} from {caption[:60]!r}; {own}"


@dataclass(frozen=True)
class KnownCaptions:
    """``texts`` and their ``features`` (N, E) float32, standardised, pooled."""

    texts: list[str]
    features: Tensor

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> KnownCaptions | None:
        """The inverse of ``keep``; None of an empty one."""
        return cls(stored["texts"], stored["features"].float()) if stored.get("texts") else None

    @cached_property
    def own_distances(self) -> Tensor:
        """(N,) of each caption from the nearest other one; 0 where there is none."""
        if len(self.texts) < 2:
            return torch.zeros(1)
        return _distances(self.features, self.features).fill_diagonal_(torch.inf).amin(1)

    def nearness(
        self, encoder: TextEncoder, standardiser: TextStandardiser, prompts: list[str], *, num: int = 3
    ) -> list[Nearness]:
        """Of each prompt, with its ``num`` nearest captions."""
        own = self.own_distances
        spread, farthest = float(own.median()), float(own.max())
        found = []
        for prompt in prompts:
            row = _distances(_features(encoder, standardiser, [prompt]), self.features)[0]
            values, places = row.topk(min(num, len(row)), largest=False)
            near = [Nearest(self.texts[place], float(value)) for value, place in zip(values, places, strict=True)]
            found.append(Nearness(prompt, near, spread, farthest))
        return found


def keep(encoder: TextEncoder, standardiser: TextStandardiser, texts: Iterable[str]) -> dict[str, Any]:
    """What a checkpoint keeps of its training captions: at most MOST distinct texts and their features."""
    distinct = sorted(set(texts))
    chosen = [distinct[i * len(distinct) // MOST] for i in range(MOST)] if len(distinct) > MOST else distinct
    features = [_features(encoder, standardiser, chosen[start : start + 256]) for start in range(0, len(chosen), 256)]
    return {"texts": chosen, "features": torch.cat(features)}


@torch.no_grad()
def _features(encoder: TextEncoder, standardiser: TextStandardiser, texts: list[str]) -> Tensor:
    device = standardiser.pooled_mean.device
    return standardiser(encoder.encode(texts).to(device)).pooled.cpu()


def _distances(one: Tensor, other: Tensor) -> Tensor:
    """(N, E), (M, E) -> (N, M), exact: not by way of the product, which loses what is near."""
    return torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist") / one.shape[1] ** 0.5
