"""methods/trainer.py on real debug runs, on the CPU: stopping, and going on."""

from __future__ import annotations

import gc
import json
import math
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from config import Config
from main import main
from methods.trainer import Trainer
from methods.training import interruption
from methods.training.step import StepResult
from tests.conftest import command_settings
from tests.many_processes import interrupt_after_three_lines
from tests.published_files import random_weights, write_published
from tests.training.test_trainer import advance, assert_equal
from utils.checkpoints import file as checkpoint
from utils.checkpoints import listing as checkpoint_list
from utils.checkpoints.file import CheckpointError, latest_path
from utils.train_logger import LogError

MakeConfig = Callable[..., Config]
QUIET = {f"{what}_EVERY_EPOCHS": 0 for what in ("SAMPLE", "VALIDATE", "RANK", "LOG_DETAILS")}


class InterruptedAt(Trainer):
    """Gets Ctrl-C in the middle of the step that ends at ``last_step``."""

    last_step = 3

    def train_step(self) -> StepResult:
        if self.step + 1 == self.last_step:
            signal.raise_signal(signal.SIGINT)
        return super().train_step()


class ScalingLosses(Trainer):
    """As with fp16, which the CPU does not have: its losses are scaled."""

    def _restore(self, content: dict[str, object], path: Path) -> None:
        self.scaler = torch.amp.GradScaler("cpu", enabled=True)
        super()._restore(content, path)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"GRADIENT_ACCUMULATION_STEPS": 2, "BATCH_SIZE": 1, "SHUFFLE_CAPTIONS": True, "EMA_EVERY": 2},
        {
            "TINYFUSION_INIT": "pretrained", "TINYFUSION_FREEZE_BACKBONE": True,
            "LR_DECAY": "cosine", "EMA_DEVICE": "model", "BATCH_SIZE": 3,
        },
    ],
    ids=["plain", "accumulating", "frozen"],
)  # fmt: skip
def test_resuming_in_the_middle_of_an_epoch_replays_bitwise(
    debug_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, object]
) -> None:
    handler_before = signal.getsignal(signal.SIGINT)
    published = write_published(tmp_path / "published.pt", random_weights(2, 64, patch=8, grid=4))
    settings = {**QUIET, "SAVE_EVERY_EPOCHS": 100, "TINYFUSION_CHECKPOINT": str(published), **settings}
    whole = Trainer(debug_config(EXPERIMENT_NAME="whole", **settings))
    assert whole.run()
    config = debug_config(EXPERIMENT_NAME="parts", **settings)
    first = InterruptedAt(config)
    if first.steps_per_epoch == 3:
        first.last_step = 4
    assert not first.run() and first.step == first.last_step
    assert first.step % first.steps_per_epoch != 0 and "Interrupted: finishing this step" in capsys.readouterr().err
    second = Trainer(config, resume=latest_path(config))
    assert second.step == first.step and second.run()
    wanted, got = whole.state(), second.state()
    for field in ("epoch", "step", "model", "ema", "optimizer", "scaler", "encoder"):
        assert_equal(got[field], wanted[field], field)
    assert signal.getsignal(signal.SIGINT) is handler_before


class Impatient(InterruptedAt):
    def train_step(self) -> StepResult:
        if self.step + 1 == self.last_step:
            signal.raise_signal(signal.SIGINT)
        return super().train_step()


def test_a_second_ctrl_c_does_not_wait(debug_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "SAME_REQUEST", 0.0)
    with pytest.raises(KeyboardInterrupt):
        Impatient(debug_config()).run()


def test_one_request_that_arrives_twice_is_one(debug_config: MakeConfig) -> None:
    """As when a terminal signals every process, and torchrun hands the same signal on."""
    config = debug_config()
    first = Impatient(config)
    assert not first.run() and checkpoint.load(latest_path(config))["step"] == first.last_step


def test_a_second_sigterm_is_never_more_than_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "SAME_REQUEST", 0.0)
    with interruption.Interruption() as found:
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        assert found.asked


def test_a_resumed_run_trains_with_the_changed_decays(debug_config: MakeConfig) -> None:
    """Moments are the checkpoint's; what the optimiser does with them is the config's."""
    config = debug_config(NUM_EPOCHS=1, WEIGHT_DECAY=0.01, **QUIET)
    assert Trainer(config).run()
    changed = replace(config, NUM_EPOCHS=2, WEIGHT_DECAY=0.5, ADAM_BETA2=0.5)
    trainer = Trainer(changed, resume=latest_path(config))
    groups = trainer.optimizer.param_groups
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
    assert all(group["betas"] == (config.ADAM_BETA1, 0.5) for group in groups)
    assert all(bool(state["exp_avg_sq"].any()) for state in trainer.optimizer.state.values())


def test_the_last_state_keeps_its_validation_loss_and_can_be_the_best(debug_config: MakeConfig) -> None:
    """Where training ends between two savings."""
    config = debug_config(NUM_EPOCHS=1, SAVE_EVERY_EPOCHS=5, VALIDATION_FRACTION=0.5)
    trainer = Trainer(config)
    assert trainer.run() and trainer.validation_loss is not None
    assert checkpoint.load(latest_path(config))["validation_loss"] == trainer.validation_loss
    assert (latest_path(config).parent / "best_checkpoint.pt").is_file()


def test_a_preview_that_cannot_be_written_does_not_end_the_training(
    debug_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    config = debug_config(SAMPLE_DIR=str(tmp_path / "file"), SAMPLE_EVERY_EPOCHS=1)
    assert Trainer(config).run()
    assert "no previews at step 4: " in capsys.readouterr().err


def test_logs_without_a_place_are_one_line(debug_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LogError, match="cannot hold the logs: .*Set another LOG_DIR"):
        Trainer(debug_config(LOG_DIR=str(tmp_path / "file"))).run()


def test_a_finished_run_has_left_what_was_promised(trained_run: Path) -> None:
    kept = sorted(path.name for path in (trained_run / "checkpoints" / "debug").iterdir())
    assert kept == ["checkpoint_epoch_0001.pt", "checkpoint_epoch_0002.pt", "latest_checkpoint.pt"]
    lines = [json.loads(line) for line in (trained_run / "logs" / "debug" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert all(math.isfinite(line["01_Training/loss"]) for line in lines)
    assert lines[0]["04_Learning_Rate/learning_rate"] == pytest.approx(0.5e-4)
    previews = list((trained_run / "generated_samples" / "debug" / "previews").glob("*_step000008_*.gif"))
    assert len(previews) == 1 and list((trained_run / "logs" / "debug").glob("events.*"))


def test_starting_over_an_existing_run_is_refused_and_nothing_is_overwritten(debug_config: MakeConfig) -> None:
    config = debug_config()
    path = Trainer(config).save()
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="exists already.*--resume.*EXPERIMENT_NAME=NEW_NAME"):
        Trainer(config)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]


def test_starting_over_what_is_left_of_a_run_is_refused_and_names_it(debug_config: MakeConfig) -> None:
    """A fresh run would remove the old one's numbered checkpoints and replace its best."""
    config = debug_config(EXPERIMENT_NAME="mein erster Versuch")
    latest = Trainer(config).save()
    for path in (checkpoint_list.best_path(config), checkpoint.epoch_path(config, 7)):
        latest.rename(path)
        with pytest.raises(CheckpointError, match=f"{path} exists already.*add --resume '{path}'[.].*NEW_NAME"):
            Trainer(config)
        latest = path
    assert Trainer(config, resume=latest).step == 0


def test_a_kill_between_the_last_save_and_its_names_is_made_up_for(
    here: Path, clips_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command_settings(here, clips_folder, SAMPLE_EVERY_EPOCHS=0, NUM_EPOCHS=1)
    assert main(["train", *arguments]) == 0
    kept = here / "checkpoints" / "debug" / "checkpoint_epoch_0001.pt"
    kept.unlink()
    assert main(["train", *arguments, "--resume"]) == 0 and kept.is_file()


def test_resuming_with_another_model_is_refused_and_names_fix_config(debug_config: MakeConfig) -> None:
    path = Trainer(debug_config()).save()
    with pytest.raises(CheckpointError) as caught:
        Trainer(debug_config(NUM_FRAMES=6, TIMESTEPS=20), resume=path)
    message = str(caught.value)
    assert "NUM_FRAMES=4, the config says 6; TIMESTEPS=50, the config says 20" in message
    assert f"python main.py fix-config --checkpoint {path}" in message


def test_resuming_with_other_trained_parameters_is_refused(debug_config: MakeConfig) -> None:
    path = Trainer(debug_config()).save()
    with pytest.raises(CheckpointError, match="TINYFUSION_FREEZE_BACKBONE"):
        Trainer(debug_config(TINYFUSION_FREEZE_BACKBONE=True), resume=path)


def test_a_changed_learning_rate_is_announced_and_used(
    debug_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Trainer(debug_config(WARMUP_STEPS=0)).save()
    trainer = Trainer(debug_config(WARMUP_STEPS=0, LEARNING_RATE=0.02), resume=path)
    assert "changed: LEARNING_RATE 0.0001 -> 0.02" in capsys.readouterr().err.splitlines()
    assert advance(trainer, 1)[0].learning_rate == 0.02


def test_a_damaged_checkpoint_stops_the_run_and_is_left_as_it_is(debug_config: MakeConfig) -> None:
    config = debug_config()
    path = Trainer(config).save()
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        Trainer(config, resume=path)
    assert path.stat().st_size == 5000


def test_ctrl_c_saves_says_so_and_exits_with_130_and_resume_finishes(
    tmp_path: Path, clips_folder: Path, trained_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**QUIET, "SAVE_EVERY_EPOCHS": 5000, "NUM_EPOCHS": 5000, "CACHE_DIR": trained_run / "cache"}
    command = [sys.executable, "main.py", "train", *command_settings(tmp_path, clips_folder, **settings)]
    log = tmp_path / "logs" / "debug" / "metrics.jsonl"
    code, out, err = interrupt_after_three_lines(command, log)
    assert code == 130, err
    assert "Interrupted: finishing this step, then saving." in err and "Traceback" not in err
    path = tmp_path / "checkpoints" / "debug" / "latest_checkpoint.pt"
    assert f"saved {path}" in out and path.is_file()
    assert out.splitlines()[-1] == "Go on with the same command and --resume."
    step = json.loads(log.read_text().splitlines()[-1])["step"]
    assert main([*command[2:], "--resume", "--set", f"NUM_EPOCHS={step // 4 + 1}"]) == 0
    assert f"Finished at step {(step // 4 + 1) * 4:,}" in capsys.readouterr().out


def test_an_older_checkpoint_may_not_take_the_place_of_the_newest(debug_config: MakeConfig) -> None:
    config = debug_config()
    trainer = Trainer(config)
    latest = trainer.save()
    older = latest.with_name("older.pt")
    older.write_bytes(latest.read_bytes())
    trainer.step = 1234
    trainer.save()
    before = latest.read_bytes()
    with pytest.raises(CheckpointError) as caught:
        Trainer(config, resume=older)
    assert str(caught.value) == (
        f"{older} is at step 0, but {latest} is at step 1,234 and would be replaced. "
        f"Go on beside it: add --set EXPERIMENT_NAME=NEW_NAME, or remove {latest}"
    )
    assert latest.read_bytes() == before
    assert Trainer(debug_config(EXPERIMENT_NAME="beside"), resume=older).step == 0
    linked = latest.with_name("linked.pt")
    checkpoint.link(latest, linked)
    assert Trainer(config, resume=linked).step == 1234  # the same file by another name
    latest.write_bytes(b"junk")
    assert Trainer(config, resume=older).step == 0  # nothing is lost


def test_other_training_data_is_announced(
    debug_config: MakeConfig, clips_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = Trainer(debug_config())
    path = first.save()
    Trainer(debug_config(), resume=path)
    assert "changed:" not in capsys.readouterr().err
    fewer = Trainer(debug_config(VALIDATION_FRACTION=0.25), resume=path)
    old, new = (trainer.state()["data"]["digest"] for trainer in (first, fewer))
    wanted = f"changed: training data 8 clips ({old}) -> 6 clips ({new})"
    assert wanted in capsys.readouterr().err.splitlines()


def test_a_run_without_loss_scaling_may_go_on_with_it(debug_config: MakeConfig) -> None:
    """The state of a scaler that is off is empty, which one that is on refuses to read."""
    path = Trainer(debug_config()).save()
    assert checkpoint.load(path)["scaler"] == {}
    trainer = ScalingLosses(debug_config(), resume=path)
    assert trainer.scaler.is_enabled() and math.isfinite(trainer.train_step().loss)


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="no list of mapped files")
def test_a_resumed_run_keeps_no_hold_of_the_file_that_it_went_on_from(debug_config: MakeConfig) -> None:
    """Its room on disk would stay taken to the end of the run, and Windows would not let it be replaced."""
    trainer = Trainer(debug_config())
    advance(trainer, 1)  # so that there are moments
    path = trainer.save()
    resumed = Trainer(debug_config(), resume=path)
    gc.collect()
    assert resumed.step == 1 and str(path) not in Path("/proc/self/maps").read_text()
