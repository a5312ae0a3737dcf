"""methods/sampling/loading.py: averaged weights, strictly; what may be overridden and what not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from config import make_config
from methods.sampling.loading import (
    LoadedModel,
    check_encoder,
    default_batch_size,
    encoder_identity,
    load_model,
    load_weights,
)
from models.encoder_files import TextEncoderError
from models.text_encoder import TextEncoder
from utils.checkpoints import file as checkpoint
from utils.checkpoints.file import CheckpointError


@pytest.fixture(scope="module")
def loaded(trained_checkpoint: Path) -> LoadedModel:
    return load_model(trained_checkpoint)


def test_a_loaded_model_has_the_averaged_weights_and_its_settings(
    trained_checkpoint: Path, loaded: LoadedModel
) -> None:
    content = checkpoint.load(trained_checkpoint)
    parameters = dict(loaded.model.named_parameters())
    assert content["ema"].keys() == parameters.keys()
    for name, average in content["ema"].items():
        assert torch.equal(parameters[name].detach(), average)
    assert any(not torch.equal(content["model"][name], average) for name, average in content["ema"].items())
    assert loaded.step == 8 and loaded.config.EXPERIMENT_NAME == "debug" and not loaded.model.training
    assert torch.equal(loaded.model.clip_mean, content["model"]["clip_mean"])


def test_what_is_not_the_model_may_be_overridden(trained_checkpoint: Path) -> None:
    config = load_model(trained_checkpoint, {"ETA": 1.0, "INFERENCE_TIMESTEPS": 50, "SEED": 3}).config
    assert (config.ETA, config.INFERENCE_TIMESTEPS, config.SEED) == (1.0, 50, 3)


def test_the_model_itself_may_not_be_overridden(trained_checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="holds NUM_FRAMES=4; 8 was asked for. Leave NUM_FRAMES out"):
        load_model(trained_checkpoint, {"NUM_FRAMES": 8})


@pytest.mark.parametrize("change", ["missing", "unknown", "reshaped"])
def test_weights_load_strictly(trained_checkpoint: Path, loaded: LoadedModel, change: str) -> None:
    weights = dict(checkpoint.load(trained_checkpoint)["model"])
    name = "backbone.temporal_convolution.up.bias"
    if change == "reshaped":
        weights[name] = torch.zeros(3)
    else:
        value = weights.pop(name)
        if change == "unknown":
            weights |= {name: value, "backbone.surprise": value}
    with pytest.raises(CheckpointError, match="does not fit the model of its own config") as caught:
        load_weights(loaded.model, weights, trained_checkpoint)
    assert ("backbone.surprise" if change == "unknown" else name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_encoder_is_refused_by_its_fingerprint(encoder: TextEncoder, trained_checkpoint: Path) -> None:
    identity = encoder_identity(encoder)
    check_encoder(identity, encoder, trained_checkpoint)
    with pytest.raises(TextEncoderError, match="was trained with TEXT_ENCODER=.*fingerprint 0123.*Use the files"):
        check_encoder({**identity, "fingerprint": "0123"}, encoder, trained_checkpoint)


@pytest.mark.parametrize(
    ("num_frames", "side", "num_clips"),
    [(4, 16, 8), (16, 64, 8), (17, 64, 7), (16, 128, 2), (28, 128, 1), (64, 256, 1)],
)
def test_the_clips_of_a_batch_have_at_most_the_pixels_of_eight_of_the_default_size(
    num_frames: int, side: int, num_clips: int, loaded: LoadedModel
) -> None:
    size = {"NUM_FRAMES": num_frames, "IMAGE_SIZE": side}
    assert default_batch_size(make_config("debug", size)) == num_clips
    assert replace(loaded, config=make_config("debug", size), batch_size=0).batch_size == num_clips
    assert replace(loaded, batch_size=5).with_settings(ETA=1.0).batch_size == 5
