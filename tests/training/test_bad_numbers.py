"""NaN wherever it may come from: the step is skipped, the clip named and counted, and no file ever holds it."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from config import Config, UserError
from main import main
from methods.trainer import MAX_BAD_STEPS, Trainer
from methods.training.step import StepResult
from methods.training.warm_start import TrainingError
from tests.conftest import command_settings
from tests.training.test_trainer import OneBrokenClip, advance, assert_equal, weights
from utils.checkpoints import file as checkpoint
from utils.checkpoints.file import CheckpointError, latest_path
from utils.checkpoints.seal import SealedFile

MakeConfig = Callable[..., Config]
TAG = "01_Training/skipped_steps_total"
QUIET = {f"{what}_EVERY_EPOCHS": 0 for what in ("SAMPLE", "VALIDATE", "RANK", "LOG_DETAILS")}


def plant(trainer: Trainer, where: str) -> None:
    """One NaN in the state; the first of a tensor that every clip passes through."""
    weight = trainer.model.backbone.dit.x_embedder.proj.weight
    tensor = {
        "a weight": weight.data,
        "the average": next(iter(trainer.ema.average.values())),
        "a moment": trainer.optimizer.state[weight]["exp_avg"],
    }[where]
    tensor.view(-1)[0] = math.nan


class Breaking(Trainer):
    """NaN gets into its state at the beginning of the step ``at``."""

    where, at, interrupt = "a weight", 5, False

    def train_step(self) -> StepResult:
        if self.step == self.at:
            plant(self, self.where)
            if self.interrupt:
                signal.raise_signal(signal.SIGTERM)
        return super().train_step()


def all_finite(content: dict[str, object]) -> bool:
    return checkpoint.find_broken(content) == ""


# ---- In a clip, in a gradient ---------------------------------------------------------------------------------------


def test_a_nan_in_a_gradient_skips_the_step_names_its_clips_and_changes_nothing(
    debug_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = Trainer(debug_config())
    advance(trainer, 2)

    def spoil(gradient: Tensor) -> Tensor:
        return torch.where(torch.arange(gradient.numel()).view(gradient.shape) == 3, math.nan, gradient)

    state = trainer.state()
    before = {key: checkpoint_copy(state[key]) for key in ("model", "ema", "optimizer")}
    names = [trainer.data.names[row] for row in trainer.rows()]
    hook = trainer.model.backbone.dit.x_embedder.proj.bias.register_hook(spoil)
    metrics = advance(trainer, 1)[0]
    hook.remove()
    assert math.isfinite(metrics.loss) and math.isnan(metrics.gradient_norm) and metrics.skipped
    for key, value in before.items():
        if key == "optimizer":  # the rate is a function of the step, not of what happened
            value, now = value["state"], trainer.state()[key]["state"]
        else:
            now = trainer.state()[key]
        assert_equal(now, value, key)
    said = capsys.readouterr().err
    assert "step 2: loss or gradient is not finite (norm nan), skipped" in said and all(name in said for name in names)
    assert not advance(trainer, 1)[0].skipped and (trainer.bad_steps, trainer.skipped_steps) == (0, 1)


def checkpoint_copy(value: object) -> object:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: checkpoint_copy(part) for key, part in value.items()}
    return [checkpoint_copy(part) for part in value] if isinstance(value, list) else value


def test_a_run_with_a_broken_clip_goes_on_and_counts_its_steps_in_tensorboard(
    debug_config: MakeConfig, clips_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One clip of eight, two a step: one step of each epoch is skipped, also after a resume."""
    settings = {**QUIET, "LOG_EVERY_STEPS": 2}
    for config in (debug_config(NUM_EPOCHS=2, **settings), debug_config(NUM_EPOCHS=3, **settings)):
        trainer = Trainer(config, resume=latest_path(config) if latest_path(config).exists() else None)
        trainer.data = OneBrokenClip(clips_folder, num_frames=4, image_size=16)
        assert trainer.run()
        content = checkpoint.load(latest_path(config))
        assert content["skipped_steps"] == trainer.skipped_steps == config.NUM_EPOCHS and all_finite(content)
    said = [line for line in capsys.readouterr().err.splitlines() if "not finite" in line]
    assert len(said) == 3 and all(line.endswith(f"clips: {trainer.data.names[1]}") for line in said)
    folder = Path(config.LOG_DIR) / config.EXPERIMENT_NAME
    events = EventAccumulator(str(folder))
    events.Reload()
    curve = {event.step: event.value for event in events.Scalars(TAG)}
    assert sorted(curve) == [2, 4, 6, 8, 10, 12] and (curve[4], curve[8], curve[12]) == (1.0, 2.0, 3.0)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {line["step"]: line[TAG] for line in lines} == curve


# ---- fp16's scale, with torch's own scaler on the CPU ----------------------------------------------------------------


def scaled(config: Config, *, scale: float, spoil: Callable[[Tensor], Tensor]) -> Trainer:
    """A trainer whose losses are multiplied by ``scale``, and all of whose gradients go through ``spoil``."""
    trainer = Trainer(config)
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    for parameter in trainer.model.parameters():
        parameter.register_hook(spoil)
    return trainer


def test_gradients_that_overflow_halve_the_scale_until_they_fit_and_each_step_is_counted(
    debug_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even where that takes more than ten steps: nothing is wrong with the numbers."""
    trainer = scaled(debug_config(), scale=2.0**36, spoil=lambda gradient: gradient.half().float())
    before, results = weights(trainer), []
    while not results or results[-1].skipped:
        assert_equal(weights(trainer), before)
        results += advance(trainer, 1)
    num_skipped = len(results) - 1
    assert num_skipped > MAX_BAD_STEPS and trainer.scaler.get_scale() == 2.0 ** (36 - num_skipped)
    assert all(math.isfinite(result.loss) for result in results)
    assert (trainer.skipped_steps, results[-1].skipped_total, trainer.bad_steps) == (num_skipped, num_skipped, 0)
    assert not any(result.skipped for result in advance(trainer, 3)) and "not finite" not in capsys.readouterr().err


def test_gradients_that_overflow_at_any_scale_stop_the_run_and_say_the_cure(debug_config: MakeConfig) -> None:
    trainer = scaled(debug_config(), scale=2.0**16, spoil=lambda gradient: torch.full_like(gradient, math.inf))
    before = weights(trainer)
    with pytest.raises(TrainingError, match="10 steps in a row were not finite.*MIXED_PRECISION=no"):
        advance(trainer, 100)
    assert trainer.skipped_steps == 16 + MAX_BAD_STEPS
    assert_equal(weights(trainer), before)


def test_a_loss_that_is_no_number_is_never_put_down_to_the_scale(debug_config: MakeConfig) -> None:
    trainer = scaled(debug_config(), scale=2.0**16, spoil=lambda gradient: gradient)
    trainer.model.clip_mean.fill_(math.nan)
    with pytest.raises(TrainingError):
        advance(trainer, 100)
    assert trainer.skipped_steps == MAX_BAD_STEPS


# ---- In the state itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["a weight", "a moment"])
def test_a_nan_in_the_state_stops_the_run_and_the_checkpoint_stays_the_good_one(
    debug_config: MakeConfig, where: str
) -> None:
    """Every step is bad from then on: ten of them stop the run. A moment spoils its weight in one more step."""
    config = debug_config(NUM_EPOCHS=100, SAVE_EVERY_EPOCHS=100, **QUIET)
    trainer = Breaking(config)
    trainer.where = where
    advance(trainer, 4)
    before = trainer.save().read_bytes()
    with pytest.raises(TrainingError, match="10 steps in a row were not finite.*from before. Lower LEARNING_RATE"):
        trainer.run()
    assert trainer.skipped_steps == MAX_BAD_STEPS
    assert latest_path(config).read_bytes() == before and all_finite(checkpoint.load(latest_path(config)))
    assert Trainer(config, resume=latest_path(config)).step == 4


@pytest.mark.parametrize("interrupt", [False, True])
@pytest.mark.parametrize("where", ["a weight", "a moment", "the average"])
def test_neither_the_end_of_an_epoch_nor_an_interruption_saves_a_nan(
    debug_config: MakeConfig, where: str, interrupt: bool
) -> None:
    config = debug_config(NUM_EPOCHS=3, SAVE_EVERY_EPOCHS=1, **QUIET)
    trainer = Breaking(config)
    trainer.where, trainer.interrupt = where, interrupt
    with pytest.raises(CheckpointError, match="holds NaN or infinity at step .*add --resume"):
        trainer.run()
    assert trainer.step == (6 if interrupt else 8)
    left = latest_path(config).parent
    assert sorted(path.name for path in left.iterdir()) == ["checkpoint_epoch_0001.pt", "latest_checkpoint.pt"]
    for path in left.iterdir():
        content = checkpoint.load(path)
        assert content["step"] == 4 and all_finite(content)


def test_a_learning_rate_that_blows_up_stops_the_run_by_itself(debug_config: MakeConfig) -> None:
    """Nothing is planted: 1e38 a step overflows float32."""
    config = debug_config(LEARNING_RATE=1e38, WARMUP_STEPS=0, NUM_EPOCHS=50, **QUIET)
    trainer = Trainer(config)
    with pytest.raises(UserError, match="Lower LEARNING_RATE"):
        trainer.run()
    assert not latest_path(config).exists() or all_finite(checkpoint.load(latest_path(config)))


# ---- In a file ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["model", "ema", "optimizer"])
def test_a_checkpoint_with_nan_is_refused_by_every_command_in_one_line(
    here: Path, trained_checkpoint: Path, clips_folder: Path, field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As another program may seal it; ours writes none."""
    content = dict(checkpoint.load(trained_checkpoint))
    table = content[field]["state"][0] if field == "optimizer" else content[field]
    name = "exp_avg" if field == "optimizer" else next(iter(table))
    table[name] = torch.full_like(table[name], math.nan)
    with open(here / "nan.pt", "wb") as file:
        sealed = SealedFile(file)
        torch.save(content, sealed)
        sealed.seal()
    for command in (
        ["sample", "--checkpoint", "nan.pt", "--text", "yes"],
        ["evaluate", "--checkpoint", "nan.pt"],
        ["train", *command_settings(here, clips_folder), "--resume", "nan.pt"],
    ):
        assert main(command) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1
        assert err.startswith(f"error: nan.pt is of no use: {field}.") and "holds NaN or infinity. Use another" in err
    assert [path.name for path in here.iterdir()] == ["nan.pt"]


def test_the_state_of_a_healthy_run_is_called_healthy(debug_config: MakeConfig) -> None:
    trainer = Trainer(debug_config())
    advance(trainer, 2)
    assert all_finite(trainer.state()) and all(bool(value.isfinite().all()) for value in weights(trainer).values())
