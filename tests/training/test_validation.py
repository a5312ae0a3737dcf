"""methods/training/validation.py: against the formulas by hand, and nothing but the model changes the measurement."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from config import Config
from dataset import TextToSignDataset, load_dataset
from diffusion.text2sign import Text2Sign, create_text2sign
from methods.evaluation.denoising import timesteps
from methods.training.validation import FixedClips
from models.text_encoder import TextEncoder
from models.text_features import TextFeatures
from schedulers.noise_schedulers import NoiseSchedule
from utils.runtime import generator

MakeConfig = Callable[..., Config]


class Constant(nn.Module):
    """Predicts one value everywhere."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x_t: Tensor, t: Tensor, text: TextFeatures) -> Tensor:
        return torch.full_like(x_t, self.value)


def around(backbone: nn.Module, config: Config, encoder: TextEncoder, prediction_type: str = "sample") -> Text2Sign:
    schedule = NoiseSchedule(config.NOISE_SCHEDULER, config.TIMESTEPS)
    return Text2Sign(
        backbone, schedule, prediction_type=prediction_type, clip_shape=config.INPUT_SHAPE, text_width=encoder.width,
        standardise_clips=False, standardise_text=False,
    )  # fmt: skip


def fixed(config: Config) -> tuple[FixedClips, TextToSignDataset]:
    data = load_dataset(config)
    return FixedClips(config, data, list(range(len(data)))), data


def test_a_silent_model_has_the_energy_of_the_clips_as_its_loss(debug_config: MakeConfig, encoder: TextEncoder) -> None:
    config = debug_config(NUM_VALIDATION_CLIPS=5)
    clips, data = fixed(config)
    model = around(Constant(0.0), config, encoder)
    found = clips.measure(model, encoder)
    assert len(set(clips.indices)) == 5 and [level.t for level in found.levels] == timesteps(model.schedule)
    energy = float(data.videos(clips.indices).square().mean())
    assert [level.x_0_error for level in found.levels] == pytest.approx([energy] * len(found.levels))
    assert found.loss == pytest.approx(energy)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_every_number_is_what_the_formulas_give(
    debug_config: MakeConfig, encoder: TextEncoder, prediction_type: str
) -> None:
    """In float64, from eps = (x_t - alpha x_0) / sigma and the three meanings of an output."""
    config = debug_config(NUM_VALIDATION_CLIPS=3, BATCH_SIZE=2)
    clips, data = fixed(config)
    model = around(Constant(0.25), config, encoder, prediction_type)
    for level in clips.measure(model, encoder).levels:
        squared = float(model.schedule.exact[level.t])
        alpha, sigma = math.sqrt(squared), math.sqrt(1 - squared)
        x_0 = data.videos(clips.indices).double()
        draws = [generator(config.SPLIT_SEED, "validation", data.names[i], level.t) for i in clips.indices]
        eps = torch.stack([torch.randn(config.INPUT_SHAPE, generator=draw) for draw in draws]).double()
        x_t = alpha * x_0 + sigma * eps
        x_0_hat = {
            "epsilon": (x_t - sigma * 0.25) / alpha,
            "v_prediction": alpha * x_t - sigma * 0.25,
            "sample": torch.full_like(x_t, 0.25),
        }[prediction_type]
        eps_hat = (x_t - alpha * x_0_hat) / sigma
        assert level.snr == pytest.approx(squared / (1 - squared))
        assert level.x_0_error == pytest.approx(float((x_0_hat - x_0).square().mean()), rel=1e-4)
        assert level.noise_error == pytest.approx(float((eps_hat - eps).square().mean()), rel=1e-3)
        assert level.predicted_mean == pytest.approx(float(eps_hat.mean()), abs=1e-5)
        if prediction_type == "epsilon":  # a constant eps_hat: what spread rounding leaves decides nothing
            assert level.predicted_std < 1e-2
            continue
        assert level.predicted_std == pytest.approx(float(eps_hat.std()), rel=1e-3)


def test_only_the_model_and_the_split_seed_change_the_measurement(
    debug_config: MakeConfig, encoder: TextEncoder
) -> None:
    config = debug_config(NUM_VALIDATION_CLIPS=3)
    model = create_text2sign(config, encoder).eval()
    for p in model.parameters():  # its output layer begins at zero, where noise does not matter
        nn.init.normal_(p, std=0.1, generator=torch.Generator().manual_seed(0))
    state = torch.random.get_rng_state()
    losses = []
    for changed in ({}, {"SEED": 7}, {"BATCH_SIZE": 3}, {"LOSS_WEIGHTING": "min_snr"}, {"SPLIT_SEED": 1}):
        losses.append(fixed(debug_config(NUM_VALIDATION_CLIPS=3, **changed))[0].measure(model, encoder).loss)
    assert losses[1:4] == pytest.approx([losses[0]] * 3, rel=1e-5) and losses[4] != pytest.approx(losses[0], rel=1e-4)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_picture_shows_three_levels_and_five_columns(debug_config: MakeConfig, encoder: TextEncoder) -> None:
    config = debug_config()
    picture = fixed(config)[0].measure(around(Constant(0.0), config, encoder), encoder).picture
    height, width, _ = picture.shape
    assert picture.dtype == "uint8" and height > 3 * 64 and width > 5 * 64
