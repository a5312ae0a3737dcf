"""Do generated clips show what was asked? Named by a judge that knows real clips alone, and told apart by prompt."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from methods.evaluation.judge import Judge
from methods.evaluation.scores import Score
from utils.captions import asked

PIXELS_AT_A_TIME = 2**16


@dataclass(frozen=True)
class PromptDistance:
    """Mean RMS distances of generated clips in grey levels: of two prompts, and of one prompt under two noises."""

    between: float
    within: float

    @property
    def ratio(self) -> float:
        """1 for a model that ignores its prompt; infinite for one that ignores its noise."""
        return self.between / self.within if self.within else float("inf")

    def to_dict(self) -> dict[str, float | None]:
        """``ratio`` is None where it is infinite, since JSON knows no such number."""
        return {"between": self.between, "within": self.within, "ratio": self.ratio if self.within else None}


def prompt_distance(clips: list[np.ndarray], captions: list[str]) -> PromptDistance | None:
    """``clips`` (F, H, W, 3) uint8 made for ``captions``; None unless there are two captions and one has two clips."""
    flat = np.stack(clips).reshape(len(clips), -1)
    products = np.zeros((len(flat), len(flat)))  # exact: whole numbers in float64, some pixels at a time
    for start in range(0, flat.shape[1], PIXELS_AT_A_TIME):
        part = flat[:, start : start + PIXELS_AT_A_TIME].astype(np.float64)
        products += part @ part.T
    norms = products.diagonal()
    distances = np.sqrt((norms[:, None] + norms[None] - 2 * products) / flat.shape[1])
    _, which = np.unique(captions, return_inverse=True)
    same = which[:, None] == which[None]
    pairs = np.triu(np.ones_like(same), k=1)
    if not (same & pairs).any() or same.all():
        return None
    return PromptDistance(float(distances[~same & pairs].mean()), float(distances[same & pairs].mean()))


def named_right(answers: list[list[str]], captions: list[str], *, num_signs: int) -> Score:
    """Signs named as the captions ask for them, each in its place.

    Chance is one in ``num_signs``, or what always saying the sign that is asked for most often gets, if that is more.
    """
    pairs = [
        pair
        for answer, caption in zip(answers, captions, strict=True)
        for pair in zip(answer, asked(caption).signs, strict=True)
    ]
    commonest = max(Counter(wanted for _, wanted in pairs).values()) / len(pairs)
    return Score(sum(found == wanted for found, wanted in pairs), len(pairs), max(1 / num_signs, commonest))


def judged(judge: Judge, clips: list[np.ndarray], captions: list[str]) -> tuple[Score | None, list[list[str]]]:
    """Score over the clips all of whose signs the judge knows (None if there are none), and its answers for all."""
    answers = judge.name_signs(clips, captions)
    known = [i for i, caption in enumerate(captions) if set(asked(caption).signs) <= set(judge.names)]
    if not known:
        return None, answers
    score = named_right([answers[i] for i in known], [captions[i] for i in known], num_signs=len(judge.names))
    return score, answers
