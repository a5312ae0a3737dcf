"""methods/training/report.py on real debug runs: what is logged is true, and logging changes no number."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from config import Config
from main import main
from methods.evaluation.denoising import LinearEstimate
from methods.evaluation.ranking import prompt_ranking
from methods.sampling.loading import LoadedModel, load_model
from methods.trainer import Trainer
from methods.training.step import StepResult, TrainingStep
from methods.training.validation import FixedClips
from tests.conftest import command_settings
from tests.published_files import random_weights, write_published
from tests.training.test_resume import InterruptedAt
from tests.training.test_trainer import advance, assert_equal
from tests.utils.test_train_logger import read_events
from utils.checkpoints.file import epoch_path, latest_path
from utils.train_logger import CATEGORIES

MakeConfig = Callable[..., Config]
HELD_OUT = {"VALIDATION_FRACTION": 0.25, "EMA_DECAY": 0.5}


class Recording(Trainer):
    """Keeps the gradient norms of the modules and of everything, before clipping, computed by torch."""

    norms: list[dict[str, float]]

    def _update(self, step: TrainingStep, norm: torch.Tensor, **named: object) -> None:
        found = {}
        for name, part in (("all", self.model), ("text.pooled", self.model.backbone.text.pooled)):
            gradients = [p.grad for p in part.parameters() if p.grad is not None]
            found[name] = float(nn.utils.get_total_norm(gradients)) if gradients else 0.0
        self.norms = [*getattr(self, "norms", []), found]
        super()._update(step, norm, **named)


def folder(config: Config) -> Path:
    return Path(config.LOG_DIR) / config.EXPERIMENT_NAME


def lines(config: Config) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder(config) / "metrics.jsonl").read_text().splitlines()]


def tags(events: EventAccumulator) -> set[str]:
    found = events.Tags()
    return {name for kind in ("scalars", "images", "histograms", "tensors") for name in found[kind]}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, clips_folder: Path) -> Recording:
    """A finished run with everything on and two groups of clips held out; read only."""
    from config import make_config
    from tests.conftest import debug_settings

    places = debug_settings(tmp_path_factory.mktemp("watched"), clips_folder)
    trainer = Recording(make_config("debug", {**places, **HELD_OUT, "GRADIENT_CLIP": 0.05, "RANK_EVERY_EPOCHS": 1}))
    assert trainer.run()
    return trainer


# ---- What is there --------------------------------------------------------------------------------------------------


def test_each_of_the_fifteen_categories_has_content(watched: Trainer) -> None:
    found = tags(read_events(folder(watched.config)))
    assert {f"03_Epoch_Summary/previews_{name}" for name in ("moving_psnr", "motion_explained")} <= found
    for number, category in enumerate(CATEGORIES, start=1):
        assert any(name.startswith(f"{number:02d}_{category}/") for name in found), category
    assert read_events(folder(watched.config)).Tags()["graph"]


def test_the_generated_clip_is_shown_beside_the_real_one(watched: Trainer) -> None:
    events = read_events(folder(watched.config))
    (name,) = [name for name in events.Tags()["images"] if name.startswith("12_")]
    caption = watched.data.texts[watched.validation[0]]
    assert name == f"12_Generated_Samples/1_{caption}"
    (event,) = events.Images(name)
    assert event.step == watched.num_steps and event.encoded_image_string.startswith(b"GIF89a")
    assert event.width > 2 * 128 and event.height > 128


def test_the_picture_of_the_noise_comes_with_every_validation(watched: Trainer) -> None:
    events = read_events(folder(watched.config)).Images("13_Noise_Visualization/validation")
    assert [event.step for event in events] == [3, 6]


def test_settings_that_differ_from_the_defaults_are_bold(watched: Trainer) -> None:
    (event,) = read_events(folder(watched.config)).Tensors("15_Configuration/settings/text_summary")
    assert event.step == 0  # although the first step came before it
    rows = event.tensor_proto.string_val[0].decode().splitlines()
    assert len(rows) == 2 + len(dataclasses.fields(Config))
    assert "| **BATCH_SIZE** | **`2`** | `1` |" in rows and "| LR_DECAY | `'none'` |  |" in rows


# ---- What it says ---------------------------------------------------------------------------------------------------


def test_gradient_norms_are_those_before_clipping_and_after(watched: Recording) -> None:
    logged = [line for line in lines(watched.config)]
    assert len(logged) == len(watched.norms) == 6
    for line, norms in zip(logged, watched.norms, strict=True):
        for group, norm in norms.items():
            assert line[f"11_Gradient_Stats/before_{group}"] == pytest.approx(norm, rel=1e-5)
            factor = min(1.0, 0.05 / norms["all"])
            assert line[f"11_Gradient_Stats/after_{group}"] == pytest.approx(norm * factor, rel=1e-4)
        assert line["01_Training/gradient_norm"] == pytest.approx(norms["all"], rel=1e-5)
    assert max(norms["all"] for norms in watched.norms) > 0.05


def test_the_validation_loss_is_of_held_out_clips_under_the_averaged_weights(watched: Trainer) -> None:
    """The checkpoint's averaged weights, loaded as ``sample`` loads them, give the last one."""
    loaded = load_model(latest_path(watched.config))
    clips = FixedClips(watched.config, watched.data, watched.validation)
    assert set(clips.indices) <= set(watched.validation)
    found = clips.measure(loaded.model, loaded.encoder)
    last = lines(watched.config)[-1]
    assert watched.validation_loss == last["03_Epoch_Summary/validation_loss"]
    assert watched.validation_loss == pytest.approx(found.loss, rel=1e-6)
    level, at = found.levels[0], f"{found.levels[0].decibels:.0f}dB"
    assert level.snr > 1 and "06_Diffusion/x_0_mse_over_doing_nothing_-20dB" not in last
    assert last[f"06_Diffusion/noise_mse_{at}"] == pytest.approx(level.noise_error, rel=1e-5)
    assert last[f"07_Noise_Analysis/predicted_std_{at}"] == pytest.approx(level.predicted_std)
    linear = LinearEstimate(loaded.model, watched.data, watched.training).error(level.snr)
    assert last[f"06_Diffusion/x_0_mse_over_linear_{at}"] == pytest.approx(level.x_0_error / linear, rel=1e-4)
    nothing = last[f"06_Diffusion/x_0_mse_over_doing_nothing_{at}"]
    assert nothing == pytest.approx(level.x_0_error * level.snr, rel=1e-4)


def test_ranking_is_the_evaluators_with_other_captions_to_be_confused_with(watched: Trainer) -> None:
    loaded = load_model(latest_path(watched.config))
    clips = FixedClips(watched.config, watched.data, watched.validation)
    config = dataclasses.replace(watched.config, SEED=watched.config.SPLIT_SEED)
    score = prompt_ranking(
        LoadedModel(loaded.model, loaded.encoder, config, 0, Path()), watched.data, clips.indices,
        sorted(watched.data.texts), max_levels=3,
    ).score  # fmt: skip
    for line in (line for line in lines(watched.config) if line["step"] in (3, 6)):
        assert line["03_Epoch_Summary/ranking_chance"] == score.chance == 1 / 8
    assert line["03_Epoch_Summary/validation_ranking"] == score.accuracy


def test_nothing_held_out_is_said_in_the_tags_and_gives_no_validation_loss(debug_config: MakeConfig) -> None:
    trainer = Trainer(debug_config(SAMPLE_EVERY_EPOCHS=0, NUM_EPOCHS=1, RANK_EVERY_EPOCHS=1))
    assert trainer.run() and trainer.validation_loss is None
    (last,) = lines(trainer.config)[-1:]
    assert "03_Epoch_Summary/training_clips_loss" in last and not any("validation" in name for name in last)


def test_a_line_is_the_mean_since_the_last_one_and_the_summary_of_the_epoch(debug_config: MakeConfig) -> None:
    settings = {"SAMPLE_EVERY_EPOCHS": 0, "CAPTION_DROPOUT": 0.5, "LR_DECAY": "cosine"}
    by_hand = advance(Trainer(debug_config(**settings)), 8)
    config = debug_config(**settings, LOG_EVERY_STEPS=3, VALIDATE_EVERY_EPOCHS=0, LOG_DETAILS_EVERY_EPOCHS=0)
    assert Trainer(config).run()
    found = lines(config)
    assert [line["step"] for line in found] == [3, 4, 6, 8]
    means = [sum(metrics.loss for metrics in by_hand[a:b]) / (b - a) for a, b in ((0, 3), (3, 6), (0, 4), (4, 8))]
    assert [found[0]["01_Training/loss"], found[2]["01_Training/loss"]] == pytest.approx(means[:2], rel=1e-6)
    assert [line["03_Epoch_Summary/loss"] for line in (found[1], found[3])] == pytest.approx(means[2:], rel=1e-6)
    seen, dropped = (found[0][f"02_Loss_Components/captions_{name}"] for name in ("seen", "dropped"))
    assert min(seen, dropped) < means[0] < max(seen, dropped)
    assert found[2]["04_Learning_Rate/learning_rate"] == by_hand[5].learning_rate
    speed = found[0]["05_Performance/clips_per_second"] * found[0]["05_Performance/seconds_per_step"]
    assert speed == pytest.approx(2.0)  # BATCH_SIZE


def test_the_end_of_a_run_names_what_was_written_and_the_next_command(
    tmp_path: Path, clips_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *command_settings(tmp_path, clips_folder, VALIDATION_FRACTION=0.25)]) == 0
    out, err = capsys.readouterr()
    checkpoint = tmp_path / "checkpoints" / "debug" / "latest_checkpoint.pt"
    loss = json.loads((tmp_path / "logs/debug/metrics.jsonl").read_text().splitlines()[-1])[
        "03_Epoch_Summary/validation_loss"
    ]
    assert out.splitlines() == [
        f"Finished at step 6 of 6; saved {checkpoint}",
        f"Validation loss: {loss:.4f} (averaged weights, held-out clips)",
        f"Previews: 1 clips in {tmp_path}/generated_samples/debug/previews",
        f"Logs: {tmp_path}/logs/debug, scalars in metrics.jsonl; see them: tensorboard --logdir {tmp_path}/logs/debug",
        f"Next: python main.py evaluate --checkpoint {checkpoint}",
    ]
    assert "loss=" in err and "clips/s=" in err and "6/6" in err


# ---- What it does not do --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"GRADIENT_ACCUMULATION_STEPS": 2, "BATCH_SIZE": 1},
        {"TINYFUSION_FREEZE_BACKBONE": True, "TINYFUSION_INIT": "pretrained"},
    ],
    ids=["plain", "accumulating", "frozen"],
)
def test_logging_changes_no_bit_of_the_state(
    debug_config: MakeConfig, settings: dict[str, object], tmp_path: Path
) -> None:
    published = write_published(tmp_path / "published.pt", random_weights(2, 64, patch=8, grid=4))
    settings = {"TINYFUSION_CHECKPOINT": str(published), **settings}
    silent = Trainer(debug_config(EXPERIMENT_NAME="silent", **HELD_OUT, **settings))
    advance(silent, silent.num_steps)
    watched = Trainer(debug_config(EXPERIMENT_NAME="watched", **HELD_OUT, **settings, RANK_EVERY_EPOCHS=1))
    state = torch.random.get_rng_state()
    assert watched.run() and torch.equal(torch.random.get_rng_state(), state)
    wanted, got = silent.state(), watched.state()
    for field in ("step", "model", "ema", "optimizer", "scaler"):
        assert_equal(got[field], wanted[field], field)


def test_a_scaled_loss_is_logged_with_unscaled_gradients(debug_config: MakeConfig) -> None:
    """As with fp16, which the CPU does not have."""
    trainer = Recording(debug_config(SAMPLE_EVERY_EPOCHS=0, NUM_EPOCHS=1))
    trainer.scaler = torch.amp.GradScaler("cpu", enabled=True, init_scale=1024.0)
    assert trainer.run()
    logged = [line["11_Gradient_Stats/before_all"] for line in lines(trainer.config)]
    assert logged == pytest.approx([norms["all"] for norms in trainer.norms], rel=1e-4)


def test_resuming_leaves_no_step_out_and_tells_none_twice(debug_config: MakeConfig) -> None:
    """Interrupted at step 6 of 8, and what is left is the checkpoint of step 4."""
    config = debug_config(SAMPLE_EVERY_EPOCHS=0, SAVE_EVERY_EPOCHS=1)
    first = InterruptedAt(config)
    first.last_step = 6
    assert not first.run()
    latest_path(config).unlink()
    assert Trainer(config, resume=epoch_path(config, 1)).run()
    assert [line["step"] for line in lines(config)] == list(range(1, 9))
    events = read_events(folder(config))
    for name in events.Tags()["scalars"]:
        steps = [event.step for event in events.Scalars(name)]
        assert steps == sorted(set(steps)), name
    assert [event.step for event in events.Scalars("01_Training/loss")] == list(range(1, 9))


def test_a_skipped_step_is_counted_and_leaves_the_mean_alone(debug_config: MakeConfig) -> None:
    class Broken(Trainer):
        def train_step(self) -> StepResult:
            mean = self.model.clip_mean.clone()
            if self.step == 1:
                self.model.clip_mean.fill_(float("nan"))
            metrics = super().train_step()
            self.model.clip_mean.copy_(mean)
            return metrics

    config = debug_config(SAMPLE_EVERY_EPOCHS=0, NUM_EPOCHS=1, LOG_EVERY_STEPS=2)
    assert Broken(config).run()
    first, last = (line for line in lines(config))
    assert first["01_Training/skipped_steps"] == 1.0 and first["01_Training/loss"] > 0
    assert last["03_Epoch_Summary/skipped_steps"] == 1.0 and last["01_Training/skipped_steps"] == 0.0
    assert first["11_Gradient_Stats/before_all"] is None  # of this very step, which was broken


def test_a_comparison_holds_both_clips_enlarged() -> None:
    from methods.training.previews import beside

    real, made = (np.full((2, 16, 16, 3), value, dtype=np.uint8) for value in (10, 200))
    frames = beside(real, made)
    assert frames.shape[0] == 2 and {10, 200} <= set(np.unique(frames[0]))
    assert (frames[0] == 10).all(-1).sum() >= 128 * 128 and (frames[1] == 200).all(-1).sum() >= 128 * 128
    assert Image.fromarray(frames[0]).size == (frames.shape[2], frames.shape[1])
