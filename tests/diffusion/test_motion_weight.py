"""Weights of moving pixels: where they lie, and that they change no clip's share of the loss."""

from __future__ import annotations

import torch

from diffusion.motion_weight import motion_weights, moving


def clip_with_a_blinking_pixel(*, by: float) -> torch.Tensor:
    video = torch.zeros(1, 3, 5, 12, 12)
    video[0, 1, 2, 6, 6] = by
    return video


def test_a_pixel_that_differs_from_its_median_moves_with_the_square_around_it():
    mask = moving(clip_with_a_blinking_pixel(by=0.2))
    expected = torch.zeros(1, 1, 5, 12, 12)
    expected[0, 0, 2, 4:9, 4:9] = 1
    assert torch.equal(mask, expected)


def test_25_grey_levels_are_no_motion_yet():
    assert not moving(clip_with_a_blinking_pixel(by=25 / 127.5)).any()


def test_the_weights_of_a_clip_have_the_mean_one_and_the_wanted_ratio():
    weights = motion_weights(clip_with_a_blinking_pixel(by=-0.5), 8.0)
    torch.testing.assert_close(weights.mean(), torch.tensor(1.0))
    torch.testing.assert_close(weights.max() / weights.min(), torch.tensor(9.0))


def test_a_clip_without_motion_is_weighted_evenly():
    assert torch.equal(motion_weights(torch.zeros(2, 3, 4, 8, 8), 8.0), torch.ones(2, 1, 4, 8, 8))
