"""methods/training/warm_start.py: first weights, and what is trained."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch

from config import Architecture, Config, ConfigError, make_config
from diffusion.text2sign import ARCHITECTURES, Text2Sign, create_text2sign
from external.TinyFusion.weights import read_published
from methods.trainer import Trainer
from methods.training.optimisation import make_optimizer
from methods.training.warm_start import TrainingError, freeze_backbone, initialise_backbone
from models.text_encoder import TextEncoder
from tests.published_files import random_weights, write_published
from tests.training.test_trainer import advance, assert_equal, weights

MakeConfig = Callable[..., Config]
OTHERS = [name for name in get_args(Architecture) if name != "tinyfusion"]


@pytest.fixture
def published_file(tmp_path: Path) -> Path:
    """Published weights for the debug preset's DiT-XXS/8, on a grid of 4 x 4 patches where the preset has 2 x 2."""
    return write_published(tmp_path / "published.pt", random_weights(2, 64, patch=8, grid=4))


@pytest.fixture
def warm(debug_config: MakeConfig, published_file: Path) -> MakeConfig:
    """``debug_config`` with these weights."""

    def make(**overrides: object) -> Config:
        places = {"TINYFUSION_INIT": "pretrained", "TINYFUSION_CHECKPOINT": str(published_file)}
        return debug_config(**{**places, **overrides})

    return make


def trainable(model: Text2Sign) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


# ---- First weights --------------------------------------------------------------------------------------------------


def test_published_weights_reach_the_run_and_every_tensor_of_the_backbone_is_reported(
    warm: MakeConfig, published_file: Path, encoder: TextEncoder
) -> None:
    config = warm()
    model = create_text2sign(config, encoder)
    said = initialise_backbone(model, config)
    wanted = read_published(published_file)["blocks.1.mlp.fc2.weight"]
    assert torch.equal(model.backbone.dit.get_parameter("blocks.1.mlp.fc2.weight"), wanted)
    assert f"backbone: DiT-XXS/8 from {published_file}" in said
    counts = {title: int(n) for title, n in re.findall(r"^([a-z ]+) (\d+)", said, flags=re.MULTILINE)}
    names = model.backbone.state_dict()
    around = sum(not name.startswith("dit.") for name in names)
    assert counts == {"loaded": 26, "adapted": 6, "newly initialised": around, "ignored": 0}
    assert sum(counts.values()) == len(names) + 1  # the class table has no place of its own in the model


@torch.no_grad()
def test_a_warm_start_but_for_its_text_is_the_image_model_on_every_frame(
    warm: MakeConfig, encoder: TextEncoder
) -> None:
    config = warm()
    model = create_text2sign(config, encoder)
    initialise_backbone(model, config)
    x_t = torch.randn(2, *config.INPUT_SHAPE, generator=torch.Generator().manual_seed(0))
    t, backbone = torch.tensor([3, 40]), model.backbone
    pooled = backbone.text(model.text(encoder.encode(["hello", "water"])))[0]
    torch.testing.assert_close(pooled.std(1, correction=0), torch.full((2,), 0.5), atol=1e-3, rtol=0)
    backbone.text.set_amplitude(0.0)
    prediction = model.predict(x_t, t, model.text(encoder.encode(["hello", "water"])))
    assert prediction.std() > 0.1
    for frame in range(config.NUM_FRAMES):
        wanted = backbone.dit(x_t[:, :, frame], backbone.timesteps[t])
        torch.testing.assert_close(prediction[:, :, frame], wanted, atol=1e-5, rtol=0)


def test_in_their_own_latents_and_process_published_weights_load_whole(encoder: TextEncoder, tmp_path: Path) -> None:
    """``--preset published`` with a smaller backbone and four components in the place of the hub's autoencoder."""
    weights = random_weights(2, 64, patch=2, grid=16)
    small = {"TINYFUSION_VARIANT": "DiT-XXS/2", "TINYFUSION_ADAPTER_WIDTH": 32, "AUTOENCODER": "pca:4"}
    file = str(write_published(tmp_path / "published.pt", weights))
    config = make_config("published", {**small, "TINYFUSION_CHECKPOINT": file, "TINYFUSION_INIT": "pretrained"})
    model = create_text2sign(config, encoder)
    said, dit = initialise_backbone(model, config), model.backbone.dit
    adapted = next(line for line in said.splitlines() if line.startswith("adapted "))
    assert sorted(adapted.partition(": ")[2].split(", ")) == [
        "final_layer.linear.bias", "final_layer.linear.weight", "t_embedder.mlp.2.bias",
        "y_embedder.embedding_table.weight",
    ]  # fmt: skip
    for name in ("x_embedder.proj.weight", "x_embedder.proj.bias", "pos_embed", "blocks.1.mlp.fc2.weight"):
        assert torch.equal(dit.state_dict()[name], weights[name])
    for part in ("weight", "bias"):  # of eight channels a place the four of the noise, bit for bit
        rows = weights[f"final_layer.linear.{part}"].unflatten(0, (4, 8))[:, :4].flatten(0, 1)
        assert torch.equal(dit.state_dict()[f"final_layer.linear.{part}"], rows)
    torch.testing.assert_close(model.backbone.timesteps, torch.arange(1000.0), atol=1e-3, rtol=0)


def test_weights_that_are_absent_are_announced_and_if_required_an_error(
    debug_config: MakeConfig, encoder: TextEncoder, tmp_path: Path
) -> None:
    absent = str(tmp_path / "none.pt")
    config = debug_config(TINYFUSION_INIT="auto", TINYFUSION_CHECKPOINT=absent)
    model = create_text2sign(config, encoder)
    said = initialise_backbone(model, config)
    assert f"DiT-XXS/8 from scratch ({absent} does not exist (its source: pretrained/" in said
    said = initialise_backbone(model, debug_config(TINYFUSION_INIT="scratch"))
    assert "DiT-XXS/8 from scratch (TINYFUSION_INIT=scratch)" in said
    with pytest.raises(ConfigError, match="TINYFUSION_INIT=pretrained but .*none.pt does not exist.*INIT=scratch"):
        initialise_backbone(model, debug_config(TINYFUSION_INIT="pretrained", TINYFUSION_CHECKPOINT=absent))


@pytest.mark.parametrize("name", OTHERS)
def test_another_architecture_starts_from_scratch_and_cannot_require_weights(
    name: str, warm: MakeConfig, encoder: TextEncoder
) -> None:
    model = create_text2sign(warm(MODEL_ARCHITECTURE=name), encoder)
    said = initialise_backbone(model, warm(MODEL_ARCHITECTURE=name, TINYFUSION_INIT="auto"))
    assert f"{name} from scratch (nothing is published for MODEL_ARCHITECTURE={name})" in said
    with pytest.raises(ConfigError, match=f"pretrained but nothing is published for MODEL_ARCHITECTURE={name}"):
        initialise_backbone(model, warm(MODEL_ARCHITECTURE=name))


# ---- Freezing -------------------------------------------------------------------------------------------------------


def test_frozen_published_weights_stay_and_everything_else_learns(warm: MakeConfig) -> None:
    trainer = Trainer(warm(TINYFUSION_FREEZE_BACKBONE=True, LEARNING_RATE=1e-2, WEIGHT_DECAY=0.0))
    before = weights(trainer)
    advance(trainer, 3)
    changed = {name for name, value in weights(trainer).items() if not torch.equal(value, before[name])}
    frozen = tuple(f"backbone.dit.{part}." for part in ("blocks", "t_embedder"))
    names = {name for name, _ in trainer.model.named_parameters()}
    assert changed == trainable(trainer.model) == {name for name in names if not name.startswith(frozen)}
    parts = {name.removeprefix("backbone.").split(".")[0] for name in changed if ".dit." not in name}
    assert parts == {"adapters", "temporal_convolution", "text"}
    parts = {name.removeprefix("backbone.dit.").split(".")[0] for name in changed if ".dit." in name}
    assert parts == {"x_embedder", "final_layer"}


def test_a_frozen_run_resumes_bitwise_without_the_weights_file(warm: MakeConfig, published_file: Path) -> None:
    whole = Trainer(warm(TINYFUSION_FREEZE_BACKBONE=True))
    first = Trainer(warm(TINYFUSION_FREEZE_BACKBONE=True, EXPERIMENT_NAME="parts"))
    advance(whole, 4)
    advance(first, 2)
    path = first.save()
    published_file.unlink()
    second = Trainer(warm(TINYFUSION_FREEZE_BACKBONE=True, EXPERIMENT_NAME="parts"), resume=path)
    assert second.step == 2 and trainable(second.model) == trainable(whole.model)
    advance(second, 2)
    got, wanted = second.state(), whole.state()
    for field in ("model", "ema", "optimizer"):
        assert_equal(got[field], wanted[field], field)


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"TINYFUSION_INIT": "scratch"}, "TINYFUSION_INIT=scratch"),
        ({"TINYFUSION_INIT": "auto", "TINYFUSION_CHECKPOINT": "none.pt"}, "none.pt does not exist"),
        *(({"TINYFUSION_INIT": "auto", "MODEL_ARCHITECTURE": name}, f"MODEL_ARCHITECTURE={name}") for name in OTHERS),
    ],
)
def test_a_fresh_start_never_freezes_random_blocks(
    settings: dict[str, str], found: str, warm: MakeConfig, encoder: TextEncoder
) -> None:
    config = warm(TINYFUSION_FREEZE_BACKBONE=True, **settings)
    wanted = f"TINYFUSION_FREEZE_BACKBONE=True but .*{found}.* Wanted .*pretrained.*FREEZE_BACKBONE=False"
    with pytest.raises(ConfigError, match=wanted) as error:
        initialise_backbone(create_text2sign(config, encoder), config)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES.keys() - {"tinyfusion"}))
def test_a_resumed_run_of_another_architecture_cannot_be_frozen_either(
    name: str, debug_config: MakeConfig, encoder: TextEncoder
) -> None:
    model = create_text2sign(debug_config(MODEL_ARCHITECTURE=name), encoder)
    freeze_backbone(model, frozen=False)
    with pytest.raises(ConfigError, match="TINYFUSION_FREEZE_BACKBONE=True but nothing is published"):
        freeze_backbone(model, frozen=True)
    assert trainable(model) == {name for name, _ in model.named_parameters()}


def test_a_run_without_trainable_parameters_is_refused_with_the_cure(
    debug_config: MakeConfig, encoder: TextEncoder
) -> None:
    model = create_text2sign(debug_config(), encoder)
    assert make_optimizer(model, debug_config()).param_groups
    model.requires_grad_(False)
    cure = re.escape("No trainable parameters. Set TINYFUSION_FREEZE_BACKBONE = False in config.py.")
    with pytest.raises(TrainingError, match=cure):
        freeze_backbone(model, frozen=True)
