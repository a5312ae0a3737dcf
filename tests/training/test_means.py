"""methods/training/means.py: means over steps, against sums by hand."""

from __future__ import annotations

import math

import pytest
import torch

from methods.training.means import SNR_EDGES, SNR_NAMES, Tally

SNR = [5.0, 0.5, 0.05, 0.005, 0.0005]  # at t = 0 ... 4: one in every bin


def add(tally: Tally, losses: list[float], t: list[int], drop: list[bool], *, norm: float, skipped: bool) -> None:
    tally.add(
        torch.tensor(losses), torch.tensor(t), torch.tensor(drop), norm=norm, skipped=skipped, seconds=0.5
    )  # fmt: skip


def test_each_mean_is_over_the_clips_that_it_names() -> None:
    tally = Tally(SNR)
    add(tally, [1.0, 2.0, 6.0], [0, 1, 1], [False, True, False], norm=2.0, skipped=False)
    add(tally, [7.0], [4], [True], norm=4.0, skipped=False)
    assert tally.components() == {
        "all": 4.0, "snr_above_1": 1.0, "snr_0.1_to_1": 4.0, "snr_below_0.001": 7.0, "captions_seen": 3.5,
        "captions_dropped": 4.5,
    }  # fmt: skip
    assert (tally.loss, tally.norm, tally.largest_norm) == (4.0, 3.0, 4.0)
    assert (tally.steps, tally.clips, tally.seconds, tally.skipped) == (2, 4, 1.0, 0)


def test_a_skipped_step_is_counted_and_in_no_mean() -> None:
    tally = Tally(SNR)
    add(tally, [math.nan], [0], [False], norm=math.inf, skipped=True)
    assert math.isnan(tally.loss) and math.isnan(tally.norm) and tally.components() == {}
    add(tally, [1.0], [0], [False], norm=3.0, skipped=False)
    assert (tally.loss, tally.norm, tally.largest_norm, tally.skipped, tally.steps) == (1.0, 3.0, 3.0, 1, 2)


def test_it_begins_anew() -> None:
    tally = Tally(SNR)
    add(tally, [1.0], [0], [False], norm=3.0, skipped=False)
    tally.clear()
    assert (tally.steps, tally.clips, tally.seconds, tally.largest_norm) == (0, 0, 0.0, 0.0)
    assert tally.components() == {}


@pytest.mark.parametrize(("edge", "below", "above"), list(zip(SNR_EDGES, SNR_NAMES, SNR_NAMES[1:], strict=False)))
def test_an_edge_belongs_to_the_bin_above(edge: float, below: str, above: str) -> None:
    tally = Tally([edge * 0.999, edge])
    add(tally, [1.0, 2.0], [0, 1], [False, False], norm=1.0, skipped=False)
    assert (tally.components()[below], tally.components()[above]) == (1.0, 2.0)
