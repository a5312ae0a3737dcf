"""Prompt ranking: is a real clip's denoising error lowest under its own caption?

It can be perfect while samples are garbage, because text may be used at middle noise and not at the high noise where
sampling begins. So it is also given for single noise levels, and ``pixels.py`` and ``judge.py`` look at
generated clips.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from dataset import TextToSignDataset
from methods.evaluation.scores import Score
from methods.sampling.loading import LoadedModel
from utils import runtime
from utils.captions import contests

NUM_NOISE_LEVELS = 8  # stratified timesteps of an error by noise
FIRST_LEVELS, ALL_LEVELS = 3, 9  # of the ranking: for every clip, and for one that the first do not decide
FEW = 4  # captions of the small contest that other work reports
MAX_CANDIDATES = 64  # captions of a contest
TINY = 1e-12  # below every error that counts; keeps the logarithm finite


@dataclass(frozen=True)
class Contest:
    """One real clip: its ``errors`` (levels, K) float32 under K ``captions``, of which it was given ``own``. The first
    levels are those of all clips; there are more only if these did not agree on one caption.

    ``commoner`` and ``as_common`` count the other captions that the data hold more often, and as often: what somebody
    goes by who answers without looking.
    """

    captions: list[str]
    own: str
    errors: Tensor
    commoner: int
    as_common: int

    def num_not_worse(self, errors: Tensor, *, asked: str | None = None) -> int:
        """How many other captions have an error (K,) not above that of ``asked`` (the own one). A tie is not a win."""
        mine = errors[self.captions.index(asked or self.own)]
        return int((~(errors > mine)).sum()) - 1 if bool(mine.isfinite()) else len(self.captions) - 1

    def by_frequency(self, num_drawn: int) -> float:
        """The chance of being right with the commonest of the own caption and ``num_drawn`` others, ties by lot.

        A choice with k ties is right by 1 / (k + 1), and C(a, k) / (k + 1) = C(a + 1, k + 1) / (a + 1), so that the sum
        over all choices has a closed form (Vandermonde's identity).
        """
        num_others, mine = len(self.captions) - 1, self.as_common + 1
        rarer = num_others - self.commoner - self.as_common
        won = math.comb(rarer + mine, num_drawn + 1) - math.comb(rarer, num_drawn + 1)
        return won / (mine * math.comb(num_others, num_drawn))

    def overall(self) -> Tensor:
        """(K,): the mean logarithm over noise levels, so that each counts by shares and not by its size."""
        return self.errors.double().clamp(min=TINY).log().mean(0)


@dataclass(frozen=True)
class Ranking:
    """Prompt ranking over the contests: all noise levels together, each ``t`` alone, and among few captions."""

    contests: list[Contest]
    levels: list[int]

    @property
    def score(self) -> Score:
        """Right where the own caption is strictly the best of all."""
        return _score([not contest.num_not_worse(contest.overall()) for contest in self.contests], self.contests)

    @property
    def by_timestep(self) -> dict[int, Score]:
        """The same from one of the levels that every contest has."""
        return {
            t: _score([not contest.num_not_worse(contest.errors[k]) for contest in self.contests], self.contests)
            for k, t in enumerate(self.levels)
        }

    def few_way(self, ways: int = FEW) -> Score | None:
        """Among ``ways`` captions: the exact share over all choices of the others; None if some contest is smaller."""
        if min(len(contest.captions) for contest in self.contests) < ways:
            return None
        shares = [
            share_of_draws(contest.num_not_worse(contest.overall()), len(contest.captions) - 1, ways - 1)
            for contest in self.contests
        ]
        return _score(shares, self.contests, ways=ways)

    def with_other_captions(self, seed: int) -> Score:
        """The control: every clip is asked for by another caption of its contest. A measure of sense fails here."""
        draw = runtime.generator(seed, "ranking control")
        right = []
        for contest in self.contests:
            others = [caption for caption in contest.captions if caption != contest.own]
            wrong = others[int(torch.randint(len(others), (1,), generator=draw))]
            right.append(not contest.num_not_worse(contest.overall(), asked=wrong))
        return _score(right, self.contests)

    def to_dict(self) -> dict[str, object]:
        """What a report says of it."""
        few = self.few_way()
        return {
            "prompt_ranking": self.score.to_dict(),
            "prompt_ranking_4_way": few.to_dict() if few else None,
            "prompt_ranking_by_timestep": {str(t): score.to_dict() for t, score in self.by_timestep.items()},
        }


def _score(right: Sequence[float], contests: list[Contest], *, ways: int | None = None) -> Score:
    """Shares ``right`` among ``ways`` captions, or all: chance is a lot's, or that of the commonest caption if more."""
    drawn = [(ways or len(contest.captions)) - 1 for contest in contests]
    lot = sum(1 / (num + 1) for num in drawn) / len(contests)
    common = sum(contest.by_frequency(num) for contest, num in zip(contests, drawn, strict=True)) / len(contests)
    return Score(sum(right), len(contests), max(lot, common))


def share_of_draws(num_bad: int, num_others: int, num_drawn: int) -> float:
    """Probability that ``num_drawn`` of ``num_others``, drawn without putting back, hold none of ``num_bad``."""
    return math.comb(num_others - num_bad, num_drawn) / math.comb(num_others, num_drawn)


def noise_levels(num_steps: int, num_levels: int = NUM_NOISE_LEVELS) -> list[int]:
    """The middles of ``num_levels`` equal parts of [0, T)."""
    return [int((k + 0.5) * num_steps / num_levels) for k in range(num_levels)]


def ranking_levels(num_steps: int) -> list[int]:
    """Middles of FIRST_LEVELS equal parts of [0, T), and then those of ALL_LEVELS that are not among them."""
    first = noise_levels(num_steps, FIRST_LEVELS)
    return first + sorted(set(noise_levels(num_steps, ALL_LEVELS)) - set(first))


def candidates(data: TextToSignDataset, rows: list[int], seed: int) -> list[list[str]]:
    """For each row the captions that its clip is ranked among: those of its surroundings, at most MAX_CANDIDATES.

    Where a surrounding has one caption only, all captions of the data.
    """
    found = []
    everything = sorted(set(data.texts))
    for row, among in zip(rows, contests(data.texts, [data.texts[row] for row in rows]), strict=True):
        among = among if len(among) > 1 else everything
        others = [caption for caption in among if caption != data.texts[row]]
        order = torch.randperm(len(others), generator=runtime.generator(seed, "candidates", data.names[row])).tolist()
        found.append(sorted([data.texts[row], *(others[i] for i in order[: MAX_CANDIDATES - 1])]))
    return found


def prompt_ranking(
    loaded: LoadedModel,
    data: TextToSignDataset,
    indices: list[int],
    captions: list[str] | list[list[str]],
    *,
    max_levels: int = ALL_LEVELS,
    show_progress: bool = True,
) -> Ranking:
    """For each clip: is the denoising error lowest under its own caption?

    ``captions``: one list for all clips, or one for each. The error is the mean squared error of the x_0 estimate, with
    the same noise under every caption (a diffusion classifier, Li et al. 2023). A tie counts as wrong, so a model that
    ignores the text scores 0, not 1. ``loaded.batch_size`` captions pass at a time.

    A contest is over when one caption, be it the own one or not, is the best at each of the FIRST_LEVELS; one that they
    do not decide goes on to ``max_levels``. The rule does not know the answer, so it leaves chance as it is.
    """
    levels, frequency = ranking_levels(loaded.config.TIMESTEPS)[:max_levels], Counter(data.texts)
    bar = tqdm(indices, desc="prompt ranking", unit="clip", dynamic_ncols=True, disable=not show_progress)
    found = []
    for number, index in enumerate(bar):
        among = captions[number] if isinstance(captions[0], list) else captions
        own, errors = data.texts[index], _caption_errors(loaded, data, index, among, levels)
        commoner = sum(frequency[other] > frequency[own] for other in among)
        as_common = sum(frequency[other] == frequency[own] for other in among) - 1
        found.append(Contest(among, own, errors, commoner, as_common))
    return Ranking(found, levels[:FIRST_LEVELS])


def _caption_errors(
    loaded: LoadedModel, data: TextToSignDataset, index: int, captions: list[str], levels: list[int]
) -> Tensor:
    """(levels, captions) denoising errors of one clip, at the first ``levels`` or at all of them."""
    model, device = loaded.model, loaded.model.clip_mean.device
    video = data.videos([index]).to(device)
    draw = runtime.generator(loaded.config.SEED, "ranking", data.names[index])
    size = loaded.batch_size
    texts = [loaded.encoder.encode(captions[i : i + size]).to(device) for i in range(0, len(captions), size)]
    rows: list[Tensor] = []
    for t in levels:
        if len(rows) == FIRST_LEVELS and len({int(row.argmin()) for row in rows}) == 1:
            break
        eps, parts = torch.randn(1, *model.clip_shape, generator=draw).to(device), []
        for text in texts:
            now = torch.full((len(text.pooled),), t, device=device)
            clips, noise = (part.expand(len(now), -1, -1, -1, -1) for part in (video, eps))
            parts.append(model.denoising_error(clips, text, noise, now).cpu())
        rows.append(torch.cat(parts))
    return torch.stack(rows)
