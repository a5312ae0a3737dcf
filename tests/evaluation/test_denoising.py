"""methods/evaluation/denoising.py: levels by SNR, and the linear estimate in closed form and by trying it out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dataset import TextToSignDataset
from diffusion.residual import PATCH, tubelets
from diffusion.text2sign import Text2Sign
from methods.evaluation.denoising import LEVELS_DB, LinearEstimate, measure_levels, timesteps
from models.text_encoder import TextEncoder
from schedulers.noise_schedulers import NoiseSchedule
from tests.conftest import write_pair
from tests.fake_models import ALL, Blind, loaded_with


def folder_of(clips: list[np.ndarray], path: Path) -> TextToSignDataset:
    for index, clip in enumerate(clips):
        write_pair(path, f"clip{index:02d}", clip, "same")
    return TextToSignDataset(path, num_frames=clips[0].shape[0], image_size=clips[0].shape[1])


@pytest.fixture
def model(encoder: TextEncoder) -> Text2Sign:
    return loaded_with(Blind(), encoder).model


@pytest.mark.parametrize("shift", [1.0, 12.0])
def test_a_long_schedule_has_every_level_and_where_sampling_begins(shift: float) -> None:
    schedule = NoiseSchedule("cosine", 1000, noise_shift=shift)
    found = [10 * float(schedule.log_snr()[t]) / np.log(10) for t in timesteps(schedule)]
    assert found[:-1] == pytest.approx(LEVELS_DB, abs=0.5) and timesteps(schedule)[-1] == 999


def test_a_level_that_a_schedule_does_not_reach_is_not_measured_twice() -> None:
    schedule = NoiseSchedule("cosine", 50, noise_shift=12.0)  # its least noise has +6 dB
    found = timesteps(schedule)
    assert found[0] == 0 and len(found) == len(set(found)) < len(LEVELS_DB) + 1


def test_white_clips_leave_the_linear_estimate_what_each_pixel_alone_tells(model: Text2Sign, tmp_path: Path) -> None:
    """Every eigenvalue is the variance: error = variance / (1 + SNR variance), and the variance without signal."""
    noise = np.random.default_rng(0).choice([78, 178], (24, 2, 64, 64, 1)).astype(np.uint8).repeat(3, axis=4)
    data = folder_of(list(noise), tmp_path)
    model.clip_std.fill_(float(data.statistics(list(range(24)))[1]))
    linear = LinearEstimate(model, data, list(range(24)))
    assert linear.error(0.0) == pytest.approx(1.0, rel=1e-4)
    variances = 3.0  # three equal channels: a third of the eigenvalues is 3, the others are 0
    for snr in (0.01, 1.0, 100.0):
        assert linear.error(snr) == pytest.approx(variances / (1 + snr * variances) / 3, rel=0.05)


def test_the_linear_estimate_has_the_error_of_least_squares_tried_on_noise(model: Text2Sign, tmp_path: Path) -> None:
    """An independent way: regress clean tubelets on noisy ones, and measure what is left."""
    rng = np.random.default_rng(1)
    smooth = rng.normal(size=(20, 1, 8, 8, 3)).repeat(2, axis=1).repeat(4, axis=2).repeat(4, axis=3)
    clips = np.clip(128 + 40 * smooth + 10 * rng.normal(size=smooth.shape), 0, 255).astype(np.uint8)
    data = folder_of(list(clips), tmp_path)
    rows = list(range(20))
    linear = LinearEstimate(model, data, rows)
    x_0 = tubelets(data.videos(rows) - linear.mean, side=PATCH).flatten(0, 1).double().repeat(60, 1)
    snr = 20.0
    x_t = x_0 + torch.randn(x_0.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / snr**0.5
    left = torch.linalg.lstsq(x_t, x_0).solution
    assert linear.error(snr) == pytest.approx(float((x_t @ left - x_0).square().mean()), rel=0.02)
    assert linear.error(snr) < min(linear.error(0.0), 1 / snr)


def test_each_clip_has_the_noise_of_its_name_and_the_first_batch_is_shown(
    clips_folder: Path, encoder: TextEncoder
) -> None:
    data, model = TextToSignDataset(clips_folder, num_frames=4, image_size=16), loaded_with(Blind(), encoder).model
    seen: dict[int, int] = {}
    kwargs = {"seed": 1, "see_first": lambda t, estimates: seen.update({t: len(estimates[0])})}
    whole = measure_levels(model, encoder, data, ALL, batch_size=8, **kwargs)
    parts = measure_levels(model, encoder, data, ALL, batch_size=3, **kwargs)
    assert [level.predicted_std for level in parts] == pytest.approx([level.predicted_std for level in whole])
    assert seen == {level.t: 3 for level in whole} and whole[0].doing_nothing == pytest.approx(1 / whole[0].snr)
