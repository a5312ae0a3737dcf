"""diffusion/text2sign.py with the weight of motion and the filter of the residual, around stand-in backbones."""

from __future__ import annotations

import pytest
import torch

from schedulers.noise_schedulers import NoiseSchedule
from tests.diffusion.test_text2sign import SHAPE, Constant, Ideal, T, around, clips, noise_of, randn, some_text


def test_an_error_where_it_moves_weighs_as_much_more_as_was_asked_for() -> None:
    video = torch.zeros(1, *SHAPE)
    video[0, :, 2, 0, 0] = 1.0  # moves, and with it the 3 x 3 corner of that frame
    wrong = {"moving": (2, 1, 1), "still": (2, 5, 5)}
    losses = {}
    for name, (f, y, x) in wrong.items():
        prediction = video.clone()
        prediction[0, :, f, y, x] += 1.0
        model = around(Ideal(prediction, NoiseSchedule("cosine", T), "sample"))
        losses[name] = float(model(video, some_text(1), noise_of(1), 8.0))
    assert losses["moving"] == pytest.approx(9 * losses["still"])
    mean = (9 * 9 + (4 * 36 - 9)) / (4 * 36)
    assert losses["still"] == pytest.approx(1 / mean / (4 * 36))


def test_training_meets_residuals_and_the_estimate_takes_from_x_t_what_it_lacks() -> None:
    """A backbone that knows nothing: at SNR s the refined error of white clips of variance v is v / (1 + s v)."""
    model, video, text = around(Constant(0.0)).train(), clips(32), some_text(32)
    before = model(video, text, noise_of(32))
    eps, t = randn(32, *SHAPE, seed=9), torch.full((32,), 5)
    x_0, x_t, estimate = model.denoise(video, text, eps, t)
    error = (model.refine(estimate, x_t, t) - x_0).square().mean()
    variance, snr = video.square().mean(), model.schedule.snr(t)[0]
    torch.testing.assert_close(error, variance / (1 + snr * variance), rtol=0.1, atol=0)
    torch.testing.assert_close(before, video.square().flatten(1).mean(1))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_predictions_that_hold_x_t_need_no_filter(prediction_type: str) -> None:
    model = around(Constant(0.0), prediction_type)
    estimate, x_t = randn(2, 1, *SHAPE)
    assert model.residual is None and model.refine(estimate, x_t, torch.tensor([3])) is estimate
