"""methods/evaluation/scores.py: intervals against closed forms and the exact binomial."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import pytest

from methods.evaluation.scores import Score


def test_the_wilson_interval_at_the_ends_is_its_closed_form() -> None:
    z2 = 1.959964**2
    assert Score(0, 10, 0.1).interval() == pytest.approx((0.0, z2 / (10 + z2)), abs=1e-12)
    assert Score(10, 10, 0.1).interval() == pytest.approx((10 / (10 + z2), 1.0), abs=1e-12)
    assert Score(8, 10, 0.1).interval() == pytest.approx((0.4902, 0.9433), abs=1e-4)  # the textbook's example


@pytest.mark.parametrize(("correct", "num"), [(1, 7), (3, 26), (25, 26), (100, 333)])
def test_the_ends_of_the_interval_are_where_the_observation_is_just_plausible(correct: int, num: int) -> None:
    score = Score(correct, num, 0.5)
    for p in score.interval():
        assert abs(score.accuracy - p) == pytest.approx(1.959964 * math.sqrt(p * (1 - p) / num), rel=1e-6)


@pytest.mark.parametrize(("num", "chance"), [(8, Fraction(1, 8)), (26, Fraction(1, 26)), (64, Fraction(1, 2))])
def test_the_interval_of_guessing_holds_the_central_95_percent_of_the_binomial(num: int, chance: Fraction) -> None:
    below, total = [], Fraction(0)
    for k in range(num + 1):
        total += math.comb(num, k) * chance**k * (1 - chance) ** (num - k)
        below.append(total)
    low = next(k for k, share in enumerate(below) if share >= Fraction(25, 1000))
    high = next(k for k, share in enumerate(below) if share >= Fraction(975, 1000))
    assert Score(0, num, float(chance)).chance_interval() == pytest.approx((low / num, high / num))


def test_the_interval_of_guessing_can_be_had_for_thousands_of_clips() -> None:
    low, high = Score(0, 2000, 0.5).chance_interval()
    assert (low, high) == pytest.approx((0.5 - 0.0219, 0.5 + 0.0219), abs=1e-3)


def test_a_score_states_everything_as_json() -> None:
    assert json.loads(json.dumps(Score(3, 4, 0.25).to_dict())).keys() == {
        "correct", "num", "chance", "accuracy", "interval_95", "chance_95",
    }  # fmt: skip
