"""methods/evaluation/likeness/order.py: tau on known orders, and the ladder of clips that are ever worse."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from methods.evaluation.likeness.order import falling_tau as tau
from methods.evaluation.likeness.order import ladders, measure_order, with_tau
from methods.evaluation.measures import STEPS, is_reliable


def test_tau_is_one_where_values_fall_less_by_two_pairs_for_every_swap_and_minus_one_where_they_rise() -> None:
    assert tau([5, 4, 3, 2, 1, 0]) == 1 and tau([0, 1, 2, 3, 4, 5]) == -1 and tau([1, 1, 1]) == 0
    assert tau([5, 4, 3, 2, 0, 1]) == pytest.approx(13 / 15) and tau([5, 4, 3, 2, 1, 1]) == pytest.approx(14 / 15)
    for order in itertools.permutations(range(5)):
        swaps = sum(a < b for a, b in itertools.combinations(order, 2))
        assert tau(order) == pytest.approx(1 - 2 * swaps / 10)


def test_a_tie_is_forgiven_once_and_a_swap_never() -> None:
    assert is_reliable(with_tau(dict(zip(STEPS, [5, 4, 3, 2, 0, 0], strict=True))))
    assert not is_reliable(with_tau(dict(zip(STEPS, [5, 4, 3, 2, 0, 1], strict=True))))
    assert not is_reliable(with_tau({**dict.fromkeys(STEPS, 1.0), "noise": None}))


def textured(phase: int) -> np.ndarray:
    """(8, 24, 24, 3) uint8: a bar over a shaded wall, another one for each clip."""
    wall = np.indices((24, 24)).sum(0) * 3 + 20 + 45 * phase
    frames = np.stack([wall] * 8)[..., None].repeat(3, 3)
    for index, frame in enumerate(frames):
        left = round(9 + 8 * np.sin(phase + index))
        frame[1 + 8 * phase : 7 + 8 * phase, left : left + 5] = (230, 40, 40)
    return frames.astype(np.uint8)


def test_every_measure_of_clips_falls_along_the_ladder() -> None:
    real, captions = [textured(phase) for phase in (0, 1, 2)], ["a", "b", "b"]
    steps = ladders(real, captions, seed=0)
    assert [index for index, _ in steps] == [0, 1] and list(steps[0][1]) == list(STEPS)
    assert (steps[0][1]["another_sign"] == real[1]).all() and np.ptp(steps[0][1]["frozen"], axis=0).max() == 0
    found = measure_order(steps)
    taus = {name: values["tau"] for name, values in found.items()}
    frozen, other = (found["moving_psnr"][step] for step in ("frozen", "another_sign"))
    assert frozen < other and taus.pop("moving_psnr") == pytest.approx(13 / 15)  # where the bar was, another wall is
    assert taus == dict.fromkeys(taus, 1.0)
    assert found["ssim"]["real"] == pytest.approx(1.0) and found["motion_explained"]["real"] == 1.0


def test_one_caption_has_no_other_sign_and_so_no_order() -> None:
    assert ladders([textured(0)] * 2, ["a", "a"], seed=0) == []
    assert measure_order([])["psnr"]["tau"] is None
