"""The three causes of a black clip, each kept from coming back, at debug size through real training steps.

In the project's first life the model drew nothing: its clips were black, its loss did not fall, and no message said
why. Three mistakes worked together, each harmless to look at. The backbone was frozen while the layers that turn its
features into pixels were random, so that nothing between a caption and a picture could be learned. The loader skipped
those output layers, since their shapes differ from the published ones, and left them as they were. And wherever numbers
broke down, NaN was replaced by zero, so that the breakdown looked like an answer. Hence three rules: only published
blocks can be frozen, and the output layers learn even then; a file's output layer is adapted or the file is refused;
what is not a number stays one, as a skipped step that names its clips and as a clip that is not written.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from config import Config, ConfigError
from diffusion.text2sign import ARCHITECTURES, create_text2sign
from external.TinyFusion.weights import WeightsError
from main import main
from methods.sampling.generate import generate
from methods.sampling.loading import LoadedModel
from methods.sampling.provenance import Request
from methods.trainer import Trainer
from methods.training.warm_start import initialise_backbone
from models.text_encoder import TextEncoder
from tests.conftest import files_below, moving_square, write_pair
from tests.published_files import random_weights, write_published
from tests.training.test_trainer import OneBrokenClip, advance, assert_equal, weights
from tests.utils.test_checkpoint_seal import reseal
from utils.checkpoints import file as checkpoint
from utils.video import VideoError

MakeConfig = Callable[..., Config]
FINAL_LAYER = [f"final_layer.{part}.{kind}" for part in ("linear", "adaLN_modulation.1") for kind in ("weight", "bias")]


@pytest.fixture
def warm(debug_config: MakeConfig, tmp_path: Path) -> MakeConfig:
    """``debug_config`` that starts from weights in the published layout."""
    path = write_published(tmp_path / "published.pt", random_weights(2, 64, patch=8, grid=4))

    def make(**overrides: object) -> Config:
        return debug_config(**{"TINYFUSION_INIT": "pretrained", "TINYFUSION_CHECKPOINT": str(path), **overrides})

    return make


def output(trainer: Trainer) -> Tensor:
    """The backbone's raw prediction (2, 3, F, H, W) for noise at a middle timestep."""
    draw = torch.Generator().manual_seed(0)
    x_t = torch.randn(2, *trainer.config.INPUT_SHAPE, generator=draw)
    with torch.no_grad():
        text = trainer.model.text(trainer.encoder.encode(["hello", "water"]))
        return trainer.model.predict(x_t, torch.tensor([25, 25]), text)


def sampled(trainer: Trainer) -> Tensor:
    """One clip (F, H, W, 3) of the current weights, levels 0 to 255."""
    trainer.model.eval()
    loaded = LoadedModel(trainer.model, trainer.encoder, trainer.config, trainer.step, Path())
    clip = generate(loaded.with_settings(GUIDANCE_SCALE=1.0), [Request("hello", 1)])[0]
    trainer.model.train()
    return torch.from_numpy(clip.frames).float()


# ---- First cause: a frozen backbone behind random output layers -----------------------------------------------------


def test_random_blocks_cannot_be_frozen_and_the_refused_run_writes_nothing(
    debug_config: MakeConfig, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="FREEZE_BACKBONE=True but TINYFUSION_INIT=scratch: random blocks"):
        Trainer(debug_config(TINYFUSION_FREEZE_BACKBONE=True))
    assert not [name for name in files_below(tmp_path) if not name.startswith("cache")]  # which clips alone decide


def test_behind_a_frozen_backbone_the_output_layers_learn_to_draw(warm: MakeConfig, tmp_path: Path) -> None:
    """One clip, one caption. A silent model's loss is 1, since the target is standardised."""
    write_pair(tmp_path / "one", "clip", moving_square(2), "hello")
    trainer = Trainer(
        warm(
            TINYFUSION_FREEZE_BACKBONE=True, DATA_DIR=str(tmp_path / "one"), BATCH_SIZE=1, LEARNING_RATE=1e-2,
            NUM_EPOCHS=200, WARMUP_STEPS=5,
        )
    )  # fmt: skip
    before = weights(trainer)
    losses = [metrics.loss for metrics in advance(trainer, 60)]
    assert sum(losses[-10:]) / 10 < 0.4
    after = weights(trainer)
    assert all(torch.equal(after[name], before[name]) for name in before if ".dit.blocks." in name)
    assert not any(torch.equal(after[f"backbone.dit.{name}"], before[f"backbone.dit.{name}"]) for name in FINAL_LAYER)
    assert sampled(trainer).std() > 20


# ---- Second cause: output layers that the loader skipped ------------------------------------------------------------


@pytest.mark.parametrize("name", FINAL_LAYER)
@pytest.mark.parametrize("change", ["is missing", "has another shape"])
def test_an_output_layer_that_would_be_skipped_is_an_error(
    name: str, change: str, debug_config: MakeConfig, encoder: TextEncoder, tmp_path: Path
) -> None:
    published = random_weights(2, 64, patch=8, grid=4)
    value = published.pop(name)
    if change == "has another shape":
        published[name] = value[:-1]
    path = write_published(tmp_path / "w.pt", published)
    config = debug_config(TINYFUSION_INIT="pretrained", TINYFUSION_CHECKPOINT=str(path))
    with pytest.raises(WeightsError, match=f"{'lacks' if change == 'is missing' else 'holds'} {name}"):
        initialise_backbone(create_text2sign(config, encoder), config)


def test_after_loading_every_frame_and_colour_has_a_picture_before_and_after_training_steps(warm: MakeConfig) -> None:
    trainer = Trainer(warm(LEARNING_RATE=1e-3))
    for _ in range(2):
        assert output(trainer).std((3, 4)).min() > 0.05
        assert sampled(trainer).std((1, 2)).min() > 2
        advance(trainer, 3)


def test_a_run_from_scratch_begins_at_zero_and_leaves_it_with_its_first_step(debug_config: MakeConfig) -> None:
    """adaLN-Zero on purpose: zero is where training starts, and where it must not stay."""
    trainer = Trainer(debug_config())
    assert not output(trainer).any()
    advance(trainer, 1)
    assert output(trainer).std((2, 3, 4)).min() > 1e-5


# ---- Third cause: NaN that became zero ------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_one_nan_in_any_tensor_of_the_model_makes_no_clip(
    architecture: str, debug_config: MakeConfig, encoder: TextEncoder
) -> None:
    changes = {"NUM_FRAMES": 2, "UNET_PATCH_SIZE": 4, "UNET_LEVELS": 1, "INFERENCE_TIMESTEPS": 1, "GUIDANCE_SCALE": 1.0}
    config = debug_config(MODEL_ARCHITECTURE=architecture, **changes)
    model = create_text2sign(config, encoder).eval()
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():  # initial zeros might hide it
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=draw))
    loaded, requests = LoadedModel(model, encoder, config, 0, Path()), [Request("hello", 1)]
    assert generate(loaded, requests)[0].frames.std() > 1
    of_sampling = {name: value for name, value in model.state_dict().items() if not name.startswith("residual.")}
    for name, value in of_sampling.items():
        kept = value.clone()
        value.view(-1)[0] = math.nan
        with pytest.raises(VideoError, match="NaN or infinite"):
            generate(loaded, requests)
            pytest.fail(f"a NaN in {name} made a clip")
        value.copy_(kept)


@pytest.mark.parametrize("value", [math.inf, -math.inf])
@pytest.mark.parametrize("guidance_scale", [0.0, 1.0, 2.0])
def test_an_infinite_prediction_is_not_clipped_to_black_or_white(
    value: float, guidance_scale: float, debug_config: MakeConfig, encoder: TextEncoder
) -> None:
    config = debug_config(INFERENCE_TIMESTEPS=2, GUIDANCE_SCALE=guidance_scale)
    model = create_text2sign(config, encoder).eval()
    model.backbone.dit.final_layer.linear.bias.data[5] = value
    with pytest.raises(VideoError, match="NaN or infinite"):
        generate(LoadedModel(model, encoder, config, 0, Path()), [Request("hello", 1)])


def test_one_nan_in_any_weight_skips_the_step_and_moves_nothing(
    warm: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = Trainer(warm())
    before = weights(trainer)
    for name, parameter in trainer.model.named_parameters():
        kept = parameter.detach().clone()
        parameter.data.view(-1)[0] = math.nan
        assert trainer.train_step().skipped and trainer.bad_steps == 1, name
        parameter.data.copy_(kept)
        trainer.bad_steps = 0
    said = capsys.readouterr().err
    assert all(trainer.data.names[row] in said for row in trainer.rows())
    assert_equal(weights(trainer), before)
    assert trainer.optimizer.state_dict()["state"] == {}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_no_number_behind_a_sound_loss_skips_the_step(
    value: float, debug_config: MakeConfig
) -> None:
    trainer = Trainer(debug_config())
    advance(trainer, 1)
    before = weights(trainer)
    bias = trainer.model.backbone.dit.final_layer.linear.bias
    hook = bias.register_hook(lambda gradient: gradient.index_fill(0, torch.tensor([0]), value))
    metrics = advance(trainer, 1)[0]
    assert math.isfinite(metrics.loss) and metrics.skipped
    assert_equal(weights(trainer), before)
    hook.remove()
    assert not advance(trainer, 1)[0].skipped
    assert all(value.isfinite().all() for value in weights(trainer).values())


def test_a_broken_clip_costs_one_step_an_epoch_and_the_rest_is_learned(
    debug_config: MakeConfig, clips_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = Trainer(debug_config(LEARNING_RATE=1e-3))
    trainer.data = OneBrokenClip(clips_folder, num_frames=4, image_size=16)
    steps = advance(trainer, 2 * trainer.steps_per_epoch)
    assert [metrics.skipped for metrics in steps].count(True) == 2
    assert capsys.readouterr().err.count(trainer.data.names[1]) == 2
    assert all(value.isfinite().all() for value in [*weights(trainer).values(), *trainer.ema.average.values()])
    assert sampled(trainer).std() > 2


def test_the_sample_command_refuses_a_broken_checkpoint_and_writes_no_clip(
    trained_checkpoint: Path, clips_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = checkpoint.load(trained_checkpoint)
    for table in ("model", "ema"):
        content[table]["backbone.dit.x_embedder.proj.bias"][0] = math.nan
    path = tmp_path / "broken.pt"
    content.pop("sha256", None)
    torch.save(content, path)  # as it was before saving refused it
    reseal(path)
    command = ["sample", "--checkpoint", str(path), "--text", "hello", "--output", str(tmp_path / "clips")]
    assert main(command) == 2
    assert "holds NaN or infinity" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.gif"))
