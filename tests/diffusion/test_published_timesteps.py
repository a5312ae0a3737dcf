"""external/TinyFusion/weights.py: our noise levels on the published timestep scale."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from external.TinyFusion.weights import published_timesteps
from schedulers.noise_schedulers import NoiseSchedule

DEFAULT = NoiseSchedule("cosine", 50, noise_shift=12.0).exact


def linear_alphas(num_timesteps: int = 1000) -> Tensor:
    return torch.from_numpy(np.cumprod(1 - np.linspace(1e-4, 0.02, num_timesteps)))


def cosine_alphas(num_timesteps: int) -> Tensor:
    t = torch.arange(num_timesteps + 1, dtype=torch.float64) / num_timesteps
    curve = torch.cos((t + 0.008) / 1.008 * torch.pi / 2) ** 2
    return (curve[1:] / curve[0]).clamp(1e-6, 1 - 1e-6)


SCHEDULES = {
    "cosine 50": cosine_alphas(50),
    "cosine 1000": cosine_alphas(1000),
    "linear 50": linear_alphas(50),
    "the default config's": DEFAULT,
}


def test_the_published_schedule_maps_to_its_own_timesteps() -> None:
    steps = published_timesteps(linear_alphas())
    assert steps.dtype == torch.float32
    torch.testing.assert_close(steps, torch.arange(1000.0), atol=1e-4, rtol=0)
    assert (steps[0], steps[-1]) == (0, 999)


@pytest.mark.parametrize("alphas", SCHEDULES.values(), ids=SCHEDULES.keys())
def test_a_mapped_timestep_has_the_noise_level_it_stands_for(alphas: Tensor) -> None:
    def log_snr(a: np.ndarray) -> np.ndarray:
        return np.log(a / (1 - a))

    table = log_snr(linear_alphas().numpy())
    found = np.interp(published_timesteps(alphas).double().numpy(), np.arange(1000), table)
    np.testing.assert_allclose(found, log_snr(alphas.numpy()).clip(table[-1], table[0]), atol=1e-4)


@pytest.mark.parametrize("alphas", SCHEDULES.values(), ids=SCHEDULES.keys())
def test_mapped_timesteps_rise_with_the_noise_and_stay_in_the_published_range(alphas: Tensor) -> None:
    steps = published_timesteps(alphas)
    inside = (alphas < linear_alphas()[0]) & (alphas > linear_alphas()[-1])
    assert (steps.diff() >= 0).all() and (steps[inside].diff() > 0).all()
    assert steps.min() >= 0 and steps.max() <= 999


@pytest.mark.parametrize("t", [0, 49])
def test_the_ends_of_the_default_schedule_are_mapped_exactly(t: int) -> None:
    """By hand: the cosine of Nichol & Dhariwal 2021, eq. 17, its SNR divided by 12^2, looked up between two steps."""
    a = (math.cos(((t + 1) / 50 + 0.008) / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2)) ** 2
    wanted = math.log(a / (1 - a) / 144) if t == 0 else -math.inf
    table = torch.logit(linear_alphas()).tolist()  # falling
    k = sum(level > wanted for level in table) - 1  # the last published step with less noise
    place = 999.0 if k == 999 else k + (table[k] - wanted) / (table[k] - table[k + 1])
    assert published_timesteps(DEFAULT)[t].item() == pytest.approx(place, abs=1e-3)


def test_levels_beyond_the_published_range_are_clamped() -> None:
    levels = torch.tensor([1.0, 0.99995, 0.5, 1e-5, 0.0])
    steps = published_timesteps(levels)
    assert steps[:2].tolist() == [0, 0] and steps[3:].tolist() == [999, 999] and 0 < steps[2] < 999
