"""The judge of an evaluation, and how far to trust it: its share of right answers on real clips that it never saw."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dataset import TextToSignDataset
from methods.evaluation.distance import judged
from methods.evaluation.judge import Judge
from methods.evaluation.scores import Score
from utils import runtime
from utils.captions import asked
from utils.split import group_of, without_copies

KEPT_BACK = 0.2  # of the groups of clips, for the ceiling, where nothing is held out


@dataclass(frozen=True)
class Judgement:
    """The judge, and how good it is: its ``ceiling`` on real clips that it was not trained on, and which those are.

    ``training``: the rows of the clips that it was trained on.
    """

    judge: Judge
    ceiling: Score | None
    ceiling_of: str
    training: frozenset[int]


def train_judge(
    data: TextToSignDataset, training: list[int], held_out: list[int], *, seed: int, num_steps: int
) -> Judgement:
    """A judge of the real clips ``training``, copies included, and its ceiling on the clips ``held_out``.

    Where nothing is held out, some training clips are kept back for the ceiling. Where every sign has one clip, that
    cannot be: the ceiling is unknown, and that is said.
    """
    if held_out:
        own, test, of = training, held_out, "held-out real clips"
    else:
        test = _kept_back(data, training, seed)
        own = [row for row in training if row not in set(test)]
        test = without_copies(data.names, test, copies=data.copies)
        of = "real clips that the recogniser was not trained on" if test else "nothing: every sign has one real clip"
    judge = Judge([data.frames(row) for row in own], [data.texts[row] for row in own], seed=seed, num_steps=num_steps)
    if not test:
        return Judgement(judge, None, of, frozenset(own))
    ceiling, _ = judged(judge, [data.frames(row) for row in test], [data.texts[row] for row in test])
    of = of if ceiling else "nothing: no held-out clip shows a sign that was trained on"
    return Judgement(judge, ceiling, of, frozenset(own))


def _kept_back(data: TextToSignDataset, rows: list[int], seed: int) -> list[int]:
    """Rows of a seeded KEPT_BACK of the groups, as far as every sign of theirs stays in another group."""
    groups: dict[str, list[int]] = {}
    for row in rows:
        groups.setdefault(group_of(data.names[row]), []).append(row)
    signs = {name: {sign for row in own for sign in asked(data.texts[row]).signs} for name, own in groups.items()}
    left = {sign: sum(sign in own for own in signs.values()) for own in signs.values() for sign in own}
    names = sorted(groups)
    order = torch.randperm(len(names), generator=runtime.generator(seed, "recogniser's own split")).tolist()
    taken: list[int] = []
    budget = round(KEPT_BACK * len(names))
    for name in (names[i] for i in order):
        if budget and all(left[sign] > 1 for sign in signs[name]):
            budget -= 1
            taken += groups[name]
            for sign in signs[name]:
                left[sign] -= 1
    return taken
