"""The filter of the residual: closed forms of the Wiener estimate, and what it leaves alone."""

from __future__ import annotations

import torch

from diffusion.residual import HORIZON, ResidualFilter, from_tubelets, tubelets

SHAPE = (3, 2, 8, 8)


def residuals(num_clips: int, deviation: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Independent Gaussian residuals whose deviation (D,) over a tubelet's values is given."""
    flat = torch.randn(num_clips, 4, len(deviation), generator=torch.Generator().manual_seed(seed)) * deviation
    return from_tubelets(flat, shape=SHAPE)


def test_tubelets_come_back_as_the_clip_that_they_were():
    video = torch.randn(2, *SHAPE)
    flat = tubelets(video, side=4)
    assert flat.shape == (2, 4, 3 * 2 * 16)
    assert torch.equal(flat[1, 3].unflatten(0, (3, 2, 4, 4)), video[1, :, :, 4:, 4:])  # the last square
    assert torch.equal(from_tubelets(flat, shape=SHAPE), video)


def test_what_is_left_at_the_edge_is_in_no_tubelet():
    assert tubelets(torch.zeros(2, 3, 5, 7, 7), side=4).shape == (2, 1, 3 * 5 * 16)


def test_a_filter_that_has_met_nothing_returns_the_estimate():
    estimate, noisy = torch.randn(2, 1, *SHAPE)
    assert torch.equal(ResidualFilter(SHAPE).refine(estimate, noisy, torch.tensor([100.0])), estimate)


def test_the_error_is_that_of_the_closed_form_at_every_noise():
    """Independent values of variance v: the error of the combination is the mean of 1 / (1 / v + SNR)."""
    deviation = torch.linspace(0.1, 1.0, 96)
    filtered = ResidualFilter(SHAPE)
    for seed in range(8):
        filtered.meet(residuals(HORIZON // 8, deviation, seed), torch.full((HORIZON // 8,), 10.0))
    x_0 = torch.zeros(256, *SHAPE)
    estimate = x_0 - residuals(256, deviation, seed=100)
    for snr in (0.01, 1.0, 158.0):
        noisy = x_0 + torch.randn(x_0.shape, generator=torch.Generator().manual_seed(101)) / snr**0.5
        error = filtered.refine(estimate, noisy, torch.full((256,), snr)).square().mean()
        torch.testing.assert_close(error, (1 / (1 / deviation**2 + snr)).mean(), rtol=0.12, atol=0)


def test_clips_in_noise_and_broken_ones_are_not_met():
    filtered = ResidualFilter(SHAPE)
    broken = torch.full((1, *SHAPE), float("nan"))
    filtered.meet(torch.cat([torch.ones(1, *SHAPE), broken]), torch.tensor([0.001, 10.0]))
    assert not filtered.covariance.any() and not filtered.num_clips


def test_the_average_forgets_what_lies_more_than_the_horizon_back():
    filtered = ResidualFilter(SHAPE)
    for value in [4.0] * 40 + [1.0] * 400:
        filtered.meet(torch.full((8, *SHAPE), value), torch.full((8,), 10.0))
    torch.testing.assert_close(filtered.covariance, torch.ones(96, 96), rtol=0.01, atol=0)


def test_a_checkpoint_of_before_loads_as_one_that_has_met_nothing():
    filtered = ResidualFilter(SHAPE)
    filtered.meet(torch.ones(1, *SHAPE), torch.tensor([10.0]))
    filtered.load_state_dict({})
    assert not filtered.covariance.any()
