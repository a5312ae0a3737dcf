"""Training, going on, sampling and judging in latents, with principal components as the autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from config import Config, make_config
from diffusion.motion_weight import moving
from diffusion.text2sign import ARCHITECTURES
from methods.evaluation.denoising import LinearEstimate
from methods.evaluation.ranking import prompt_ranking
from methods.fix_config import recognise
from methods.sampling.generate import generate
from methods.sampling.loading import load_model
from methods.sampling.provenance import Request
from methods.trainer import Trainer
from tests.conftest import debug_settings
from utils.checkpoints import file as checkpoint

QUIET = {f"{what}_EVERY_EPOCHS": 0 for what in ("SAMPLE", "RANK", "LOG_DETAILS")}
SMALL = {
    "AUTOENCODER": "pca:12", "IMAGE_SIZE": 32, "TINYFUSION_VARIANT": "DiT-XXS/2", "TUBELET_SIZE": 2,
    "UNET_PATCH_SIZE": 1, "BATCH_SIZE": 4, "NUM_EPOCHS": 1, **QUIET,
}  # fmt: skip
Make = Callable[..., Config]


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_architecture_trains_and_samples_in_latents(name: str, debug_config: Make) -> None:
    trainer = Trainer(debug_config(**SMALL, VALIDATE_EVERY_EPOCHS=0, MOTION_WEIGHT=4.0, MODEL_ARCHITECTURE=name))
    assert trainer.run() and trainer.model.clip_shape == (12, 4, 4, 4)
    loaded = load_model(checkpoint.latest_path(trainer.config))
    (clip,) = generate(loaded, [Request("hello", 1)])
    assert clip.frames.shape == (4, 32, 32, 3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, clips_folder: Path) -> Trainer:
    """A finished run of one epoch; read only."""
    folder = tmp_path_factory.mktemp("latents")
    trainer = Trainer(make_config("debug", {**debug_settings(folder, clips_folder), **SMALL}))
    assert trainer.run()
    return trainer


def test_going_on_keeps_the_autoencoder_and_is_the_same_run(trained: Trainer, debug_config: Make) -> None:
    path = checkpoint.latest_path(trained.config)
    resumed = Trainer(debug_config(**{**SMALL, "NUM_EPOCHS": 2}), resume=path)
    assert torch.equal(resumed.model.autoencoder.components, trained.model.autoencoder.components)
    assert resumed.run()
    whole = Trainer(debug_config(**{**SMALL, "NUM_EPOCHS": 2, "EXPERIMENT_NAME": "whole"}))
    assert whole.run()
    ours, theirs = resumed.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_another_autoencoder_is_refused_with_both_names(trained: Trainer, debug_config: Make) -> None:
    path = checkpoint.latest_path(trained.config)
    for other in ("pca:8", ""):
        with pytest.raises(checkpoint.CheckpointError, match=f"AUTOENCODER='pca:12', the config says '{other}'"):
            Trainer(debug_config(**{**SMALL, "AUTOENCODER": other}), resume=path)
    with pytest.raises(checkpoint.CheckpointError, match="holds AUTOENCODER='pca:12'; 'pca:8' was asked for"):
        load_model(path, {"AUTOENCODER": "pca:8"})


def test_a_checkpoint_without_settings_is_recognised(trained: Trainer) -> None:
    found = recognise(trained.model.state_dict())
    assert found is not None
    config, keys = found
    assert "AUTOENCODER" in keys and (config.AUTOENCODER, config.IMAGE_SIZE) == ("pca:12", 32)


def test_latents_of_training_clips_are_standardised(trained: Trainer) -> None:
    x_0 = trained.model.standardise(trained.data.videos(trained.training))
    assert float(x_0.mean((0, 2)).abs().max()) < 1e-4
    assert float(x_0.square().mean()) == pytest.approx(1.0, rel=1e-4)


def test_new_clips_are_told_what_they_lose(trained: Trainer, debug_config: Make, capsys) -> None:
    changed = {**SMALL, "VALIDATION_FRACTION": 0.5, "NUM_EPOCHS": 2}
    Trainer(debug_config(**changed), resume=checkpoint.latest_path(trained.config))
    assert "pca:12 was fitted to other clips and is kept; of these it gives back" in capsys.readouterr().err


def test_ranking_and_the_linear_estimate_stay_in_latents(trained: Trainer) -> None:
    loaded = load_model(checkpoint.latest_path(trained.config))
    data, rows = trained.data, list(range(4))
    prompt_ranking(loaded, data, rows, [[data.texts[row], data.texts[(row + 1) % 4]] for row in rows])
    linear = LinearEstimate(loaded.model, data, list(range(8)))
    assert linear.mean.shape == (12, 1, 4, 4)
    assert linear.error(0.0) == pytest.approx(float(linear.around_mean(list(range(8))).square().mean()), rel=1e-3)
    assert linear.error(1.0) < linear.error(0.0)


def test_a_cell_moves_where_something_in_it_moves() -> None:
    video = torch.full((1, 3, 4, 64, 64), -0.5)
    video[:, :, 2, :8, :8] = 0.5
    cells = moving(video, cell=8)
    assert cells.shape == (1, 1, 4, 8, 8)
    assert cells[0, 0, 2, 0, 0] == 1 and cells[0, 0, :2].sum() == 0 and cells[0, 0, 2, 4:, 4:].sum() == 0
