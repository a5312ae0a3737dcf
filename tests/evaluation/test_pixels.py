"""methods/evaluation/pixels.py: nearest real clips, PSNR, chance and distances in closed form."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from dataset import TextToSignDataset
from methods.evaluation.pixels import SSIM_CONSTANTS, prompt_distance, psnr, score_retrieval, ssim
from methods.evaluation.scores import Score
from tests.conftest import moving_square, write_pair
from tests.fake_models import ALL


@pytest.fixture(scope="module")
def data(clips_folder: Path) -> TextToSignDataset:
    return TextToSignDataset(clips_folder, num_frames=4, image_size=16)


def test_real_clips_are_their_own_nearest_and_swapped_ones_are_not(data: TextToSignDataset) -> None:
    clips = [data.frames(i) for i in ALL]
    right, psnr = score_retrieval(clips, data.texts, data, ALL)
    assert right == Score(8, 8, pytest.approx(1 / 8)) and psnr > 90
    wrong, psnr = score_retrieval(clips[1:] + clips[:1], data.texts, data, ALL)
    assert wrong.correct == 0 and psnr < 20


def test_psnr_is_that_of_a_range_of_two(tmp_path: Path) -> None:
    for name, level in (("a", 100), ("b", 200)):
        write_pair(tmp_path, name, np.full((4, 16, 16, 3), level, dtype=np.uint8), name)
    data = TextToSignDataset(tmp_path, num_frames=4, image_size=16)
    made = [np.full((4, 16, 16, 3), level, dtype=np.uint8) for level in (110, 210)]
    found, psnr = score_retrieval(made, ["a", "b"], data, [0, 1])
    assert psnr == pytest.approx(20 * math.log10(255 / 10), abs=1e-4) and found.correct == 2


def test_chance_counts_the_clips_of_each_caption(tmp_path: Path) -> None:
    for index, caption in enumerate(("a", "a", "a", "b")):
        write_pair(tmp_path, f"clip{index}", moving_square(index), caption)
    data = TextToSignDataset(tmp_path, num_frames=4, image_size=16)
    found, _ = score_retrieval([data.frames(1), data.frames(3)], ["a", "b"], data, [0, 1, 2, 3])
    assert found == Score(2, 2, pytest.approx((3 / 4 + 1 / 4) / 2))


# ---- Prompts told apart ---------------------------------------------------------------------------------------------


def flat(level: int) -> np.ndarray:
    return np.full((2, 4, 4, 3), level, dtype=np.uint8)


def test_distances_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    clips = [rng.integers(0, 256, (2, 4, 4, 3), dtype=np.uint8) for _ in range(6)]
    captions = ["a", "b", "c", "a", "b", "a"]
    between, within = [], []
    for i, j in itertools.combinations(range(6), 2):
        rms = float(np.sqrt(np.mean((clips[i].astype(float) - clips[j]) ** 2)))
        (within if captions[i] == captions[j] else between).append(rms)
    found = prompt_distance(clips, captions)
    assert found["between"] == pytest.approx(np.mean(between), rel=1e-4)
    assert found["within"] == pytest.approx(np.mean(within), rel=1e-4)


def test_a_model_that_ignores_its_prompt_has_the_ratio_one() -> None:
    rng = np.random.default_rng(1)
    noise = [rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8) for _ in range(40)]
    assert prompt_distance(noise, [str(i % 4) for i in range(40)])["ratio"] == pytest.approx(1, abs=0.01)


def test_a_model_that_ignores_its_noise_has_an_infinite_ratio_which_json_cannot_hold() -> None:
    found = prompt_distance([flat(0), flat(10), flat(0), flat(10)], ["a", "b", "a", "b"])
    assert found == {"between": 10, "within": 0, "ratio": None}


def test_one_clip_of_each_or_one_caption_has_no_ratio() -> None:
    assert prompt_distance([flat(0), flat(1)], ["a", "b"]) is None
    assert prompt_distance([flat(0), flat(1)], ["a", "a"]) is None


# ---- Whole pictures --------------------------------------------------------------------------------------------------


def test_psnr_of_clips_is_that_of_a_range_of_255() -> None:
    clip = np.full((2, 16, 16, 3), 100, dtype=np.uint8)
    assert psnr(clip + 10, clip) == pytest.approx(20 * math.log10(255 / 10)) and psnr(clip, clip) > 60


def test_ssim_of_flat_clips_is_its_formula_and_of_equal_ones_one() -> None:
    noisy = np.random.default_rng(0).integers(0, 256, (2, 16, 20, 3), dtype=np.uint8)
    assert ssim(noisy, noisy) == pytest.approx(1.0)
    dark, light = (np.full((2, 16, 20, 3), level, dtype=np.uint8) for level in (50, 150))
    first = SSIM_CONSTANTS[0]
    assert ssim(dark, light) == pytest.approx((2 * 50 * 150 + first) / (50**2 + 150**2 + first))


def test_ssim_is_the_published_formula_at_one_place() -> None:
    """One window fills pictures of 11 px, so that sums by hand are all there is."""
    a, b = np.random.default_rng(1).integers(0, 256, (2, 1, 11, 11, 3), dtype=np.uint8)
    axis = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    weight = np.outer(axis, axis)[None, ..., None] / axis.sum() ** 2
    mean_a, mean_b = ((weight * each).sum((1, 2)) for each in (a, b))
    var_a, var_b = (
        (weight * (each - mean[:, None, None]) ** 2).sum((1, 2)) for each, mean in ((a, mean_a), (b, mean_b))
    )
    both = (weight * (a - mean_a[:, None, None]) * (b - mean_b[:, None, None])).sum((1, 2))
    c1, c2 = SSIM_CONSTANTS
    by_hand = (2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    assert ssim(a, b) == pytest.approx(by_hand.mean())
