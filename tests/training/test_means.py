"""methods/training/means.py: means over steps, against sums by hand."""

from __future__ import annotations

import math

import pytest
import torch

from methods.training.means import SNR_EDGES, SNR_NAMES, Means
from methods.training.step import StepResult

SNR = [5.0, 0.5, 0.05, 0.005, 0.0005]  # at t = 0 ... 4: one in every bin


def add(means: Means, losses: list[float], t: list[int], drop: list[bool], *, norm: float, skipped: bool) -> None:
    step = StepResult(
        step=1, losses=torch.tensor(losses), t=torch.tensor(t), drop=torch.tensor(drop), gradient_norm=norm,
        learning_rate=1e-3, skipped=skipped, skipped_total=int(skipped),
    )  # fmt: skip
    means.add(step, seconds=0.5)


def test_each_mean_is_over_the_clips_that_it_names() -> None:
    means = Means(SNR)
    add(means, [1.0, 2.0, 6.0], [0, 1, 1], [False, True, False], norm=2.0, skipped=False)
    add(means, [7.0], [4], [True], norm=4.0, skipped=False)
    assert means.components() == {
        "all": 4.0, "snr_above_1": 1.0, "snr_0.1_to_1": 4.0, "snr_below_0.001": 7.0, "captions_seen": 3.5,
        "captions_dropped": 4.5,
    }  # fmt: skip
    assert (means.loss, means.norm, means.largest_norm) == (4.0, 3.0, 4.0)
    assert (means.steps, means.clips, means.seconds, means.skipped) == (2, 4, 1.0, 0)


def test_a_skipped_step_is_counted_and_in_no_mean() -> None:
    means = Means(SNR)
    add(means, [math.nan], [0], [False], norm=math.inf, skipped=True)
    assert math.isnan(means.loss) and math.isnan(means.norm) and means.components() == {}
    add(means, [1.0], [0], [False], norm=3.0, skipped=False)
    assert (means.loss, means.norm, means.largest_norm, means.skipped, means.steps) == (1.0, 3.0, 3.0, 1, 2)


def test_it_begins_anew() -> None:
    means = Means(SNR)
    add(means, [1.0], [0], [False], norm=3.0, skipped=False)
    means.clear()
    assert (means.steps, means.clips, means.seconds, means.largest_norm) == (0, 0, 0.0, 0.0)
    assert means.components() == {}


@pytest.mark.parametrize(("edge", "below", "above"), list(zip(SNR_EDGES, SNR_NAMES, SNR_NAMES[1:], strict=False)))
def test_an_edge_belongs_to_the_bin_above(edge: float, below: str, above: str) -> None:
    means = Means([edge * 0.999, edge])
    add(means, [1.0, 2.0], [0, 1], [False, False], norm=1.0, skipped=False)
    assert (means.components()[below], means.components()[above]) == (1.0, 2.0)
