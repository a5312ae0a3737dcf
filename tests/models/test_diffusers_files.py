"""Autoencoders of diffusers, tiny and random, saved by diffusers itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

diffusers = pytest.importorskip("diffusers")

from config import Config  # noqa: E402
from diffusion.text2sign import create_text2sign  # noqa: E402
from methods.planning.memory import place_of, plan_training  # noqa: E402
from methods.sampling.loading import load_model  # noqa: E402
from methods.trainer import Trainer  # noqa: E402
from models.autoencoders.contract import AutoencoderError  # noqa: E402
from models.autoencoders.diffusers_files import FrozenAutoencoder  # noqa: E402
from models.text_encoder import TextEncoder  # noqa: E402
from utils.checkpoints import file as checkpoint  # noqa: E402

SHAPE = {"channels": 4, "factor": 4}
QUIET = {f"{what}_EVERY_EPOCHS": 0 for what in ("SAMPLE", "RANK", "LOG_DETAILS", "VALIDATE")}


def save(folder: Path, kind: str, seed: int = 0) -> Path:
    """A random autoencoder with 4 channels for cells of 4 px."""
    torch.manual_seed(seed)
    if kind == "AutoencoderKL":
        found = diffusers.AutoencoderKL(
            block_out_channels=(8, 8, 8), down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3, layers_per_block=1, norm_num_groups=4, latent_channels=4,
            scaling_factor=0.7, shift_factor=0.1, mid_block_add_attention=False,
        )  # fmt: skip
    else:
        sizes = {"encoder_block_out_channels": (8, 8, 8), "decoder_block_out_channels": (8, 8, 8)}
        found = diffusers.AutoencoderTiny(**sizes, num_encoder_blocks=(1, 1, 1), num_decoder_blocks=(1, 1, 1))
    found.save_pretrained(folder / kind)
    return folder / kind


@pytest.fixture(params=("AutoencoderKL", "AutoencoderTiny"))
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return save(tmp_path, request.param)


def clips() -> Tensor:
    return torch.rand(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


@torch.no_grad()
def test_it_is_the_saved_network_with_the_factors_of_its_config(saved: Path) -> None:
    found, video = FrozenAutoencoder(str(saved), **SHAPE), clips()
    own = getattr(diffusers, saved.name).from_pretrained(saved)
    latents = found.encode(video)
    assert latents.shape == (2, 4, 3, 4, 4)
    for frame in range(3):
        seen = own.encode(video[:, :, frame])
        wanted = (seen.latent_dist.mean - 0.1) * 0.7 if saved.name == "AutoencoderKL" else seen.latents
        torch.testing.assert_close(latents[:, :, frame], wanted, atol=1e-5, rtol=0)
        z = wanted / 0.7 + 0.1 if saved.name == "AutoencoderKL" else wanted
        torch.testing.assert_close(found.decode(latents)[:, :, frame], own.decode(z).sample, atol=1e-4, rtol=0)


def test_nothing_of_it_is_trained_or_kept_but_its_fingerprint(saved: Path) -> None:
    found = FrozenAutoencoder(str(saved), **SHAPE)
    assert not list(found.parameters()) and list(found.state_dict()) == ["fingerprint"]
    assert not any(p.requires_grad for p in found.module.parameters())


def test_other_channels_or_cells_than_the_configs_are_refused(saved: Path) -> None:
    with pytest.raises(AutoencoderError, match="has 4 channels and cells of 4 px, the config says 16 and 8. Set"):
        FrozenAutoencoder(str(saved), channels=16, factor=8)


def test_one_that_is_not_there_of_another_kind_or_damaged_is_refused_in_a_line(saved: Path) -> None:
    with pytest.raises(AutoencoderError, match="cannot be loaded: .* AUTOENCODER=FOLDER, or use .*pca:16"):
        FrozenAutoencoder("nobody/none", **SHAPE)
    (weights,) = saved.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(AutoencoderError, match="no folder with a whole autoencoder"):
        FrozenAutoencoder(str(saved), **SHAPE)
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, "_class_name": "UNet2DModel"}))
    with pytest.raises(AutoencoderError, match="is a UNet2DModel; wanted AutoencoderKL or AutoencoderTiny"):
        FrozenAutoencoder(str(saved), **SHAPE)


def test_a_run_in_its_latents_goes_on_and_refuses_other_weights(debug_config: Callable[..., Config], tmp_path: Path):
    name = save(tmp_path, "AutoencoderKL")
    chosen = {"AUTOENCODER": str(name), "LATENT_FACTOR": 4, "TINYFUSION_VARIANT": "DiT-XXS/2", **QUIET}
    config = debug_config(**chosen, BATCH_SIZE=8, NUM_EPOCHS=1, STANDARDISE_CLIPS=False)
    trainer = Trainer(config)
    assert trainer.run() and trainer.model.clip_shape == (4, 4, 4, 4)
    path = checkpoint.latest_path(config)
    assert load_model(path).model.autoencoder.name == str(name)
    save(tmp_path, "AutoencoderKL", seed=1)
    with pytest.raises(AutoencoderError, match="trained in latents of AUTOENCODER=.* with the fingerprint"):
        load_model(path)


def test_a_clip_that_does_not_become_numbers_is_named(debug_config: Callable[..., Config], tmp_path: Path) -> None:
    found = diffusers.AutoencoderTiny.from_pretrained(save(tmp_path, "AutoencoderTiny"))
    with torch.no_grad():
        found.encoder.layers[0].bias.fill_(float("nan"))
    found.save_pretrained(tmp_path / "broken")
    chosen = {"AUTOENCODER": str(tmp_path / "broken"), "LATENT_FACTOR": 4, "TINYFUSION_VARIANT": "DiT-XXS/2"}
    with pytest.raises(AutoencoderError, match="signer0__clip0 has latents with NaN or infinity"):
        Trainer(debug_config(**chosen, **QUIET))


def test_a_plan_needs_its_shape_alone(debug_config: Callable[..., Config], encoder: TextEncoder, saved: Path) -> None:
    chosen = {"LATENT_FACTOR": 4, "TINYFUSION_VARIANT": "DiT-XXS/2", **QUIET}
    config = debug_config(AUTOENCODER=str(saved), **chosen)
    plan = plan_training(config, place_of(config), text_width=encoder.width, num_tokens=8)
    model = create_text2sign(config, encoder)
    assert plan.num_parameters == sum(p.numel() for p in model.parameters())
