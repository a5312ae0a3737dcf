"""methods/trainer.py, methods/optimisation.py and methods/warm_start.py on real debug runs, on the CPU."""

from __future__ import annotations

import json
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from config import Config, ConfigError
from dataset import Clip, TextToSignDataset
from main import main
from methods.optimisation import Ema, ema_decay, ema_initial_share, learning_rate, make_optimizer
from methods.trainer import MAX_BAD_STEPS, Trainer
from methods.warm_start import TrainingError, freeze_backbone, initialise_backbone
from models.text_encoder import TextEncoder
from tests.conftest import CAPTIONS, command_settings, moving_square, write_pair
from tests.update_golden import GOLDEN, first_losses
from utils.checkpoint import CheckpointError, latest_path

ROOT = Path(__file__).resolve().parents[1]
MakeConfig = Callable[..., Config]


class InterruptedAt(Trainer):
    """Gets Ctrl-C in the middle of the step that ends at ``last_step``."""

    last_step = 3

    def train_step(self) -> dict[str, float]:
        if self.step + 1 == self.last_step:
            signal.raise_signal(signal.SIGINT)
        return super().train_step()


class OneBrokenClip(TextToSignDataset):
    """The second clip in the order of names comes out as NaN."""

    def __getitem__(self, index: int) -> Clip:
        clip = super().__getitem__(index)
        return Clip(clip.video * math.nan, clip.text, clip.name) if index == 1 else clip


def advance(trainer: Trainer, num_steps: int) -> list[dict[str, float]]:
    """The metrics of the next steps; nothing is written to disk."""
    metrics = []
    for _ in range(num_steps):
        metrics.append(trainer.train_step())
        trainer.step += 1
    return metrics


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}


def assert_equal(a: object, b: object, where: str = "state") -> None:
    """Bitwise, through dictionaries and lists."""
    if isinstance(a, Tensor):
        assert isinstance(b, Tensor) and torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_equal(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), where
        for i, (left, right) in enumerate(zip(a, b, strict=True)):
            assert_equal(left, right, f"{where}[{i}]")
    else:
        assert a == b, where


# ---- Steps ----------------------------------------------------------------------------------------------------------


def test_the_first_losses_are_the_golden_ones(tmp_path: Path) -> None:
    """Changes only with ``python -m tests.update_golden``, in a commit that says why."""
    assert first_losses(tmp_path) == pytest.approx(json.loads(GOLDEN.read_text())["losses"], rel=1e-4)


def test_four_clips_at_once_and_two_plus_two_are_the_same_step(debug_config: MakeConfig) -> None:
    at_once = Trainer(debug_config(BATCH_SIZE=4))
    added_up = Trainer(debug_config(BATCH_SIZE=2, GRADIENT_ACCUMULATION_STEPS=2))
    for one, two in zip(advance(at_once, 2), advance(added_up, 2), strict=True):
        assert one == pytest.approx(two, rel=1e-4)
    for (name, wanted), got in zip(weights(at_once).items(), weights(added_up).values(), strict=True):
        torch.testing.assert_close(got, wanted, atol=5e-6, rtol=0, msg=lambda m, name=name: f"{name}: {m}")


def test_an_epoch_visits_every_clip_once_even_where_the_last_step_is_short(debug_config: MakeConfig) -> None:
    trainer = Trainer(debug_config(BATCH_SIZE=3))
    assert (trainer.steps_per_epoch, trainer.num_steps) == (3, 6)
    epochs = []
    for _ in range(2):
        rows = []
        for _ in range(3):
            rows += trainer.rows()
            trainer.step += 1
        epochs.append(rows)
        assert sorted(rows) == list(range(8))
    assert epochs[0] != epochs[1]
    trainer.step = 2
    assert len(trainer.rows()) == 2 and math.isfinite(trainer.train_step()["loss"])


def test_held_out_clips_are_never_trained_on(debug_config: MakeConfig) -> None:
    trainer = Trainer(debug_config(VALIDATION_FRACTION=0.25))
    held_out = {trainer.data.names[i].split("__")[0] for i in trainer.validation}
    assert len(held_out) == 1 and len(trainer.training) == 6
    for step in range(trainer.num_steps):
        trainer.step = step
        assert not set(trainer.rows()) & set(trainer.validation)


def test_the_text_blind_control_gets_random_captions_that_are_a_function_of_the_step(debug_config: MakeConfig) -> None:
    trainer = Trainer(debug_config(SHUFFLE_CAPTIONS=True, BATCH_SIZE=8))
    drawn = []
    for step in range(4):
        trainer.step = step
        drawn.append(trainer.captions(trainer.rows()))
        assert drawn[-1] == trainer.captions(trainer.rows()) and set(drawn[-1]) <= set(CAPTIONS)
    assert len({tuple(captions) for captions in drawn}) == 4
    true = Trainer(debug_config(BATCH_SIZE=8))
    assert true.captions([2, 0]) == [true.data.texts[2], true.data.texts[0]]


def test_one_clip_can_be_overfitted(tmp_path: Path, debug_config: MakeConfig) -> None:
    """A silent model scores 1, since the target is standardised."""
    write_pair(tmp_path / "one", "clip", moving_square(2), "hello")
    trainer = Trainer(
        debug_config(DATA_DIR=str(tmp_path / "one"), BATCH_SIZE=1, LEARNING_RATE=1e-2, NUM_EPOCHS=200, WARMUP_STEPS=10)
    )
    losses = [metrics["loss"] for metrics in advance(trainer, 150)]
    assert sum(losses[:5]) / 5 > 0.5 and sum(losses[-20:]) / 20 < 0.3


def test_statistics_come_from_the_training_clips_alone(debug_config: MakeConfig) -> None:
    trainer = Trainer(debug_config(VALIDATION_FRACTION=0.25))
    mean, deviation = trainer.data.statistics(trainer.training)
    assert torch.equal(trainer.model.clip_mean, mean)
    assert float(trainer.model.clip_std) == pytest.approx(deviation, rel=1e-6)
    captions = sorted({trainer.data.texts[i] for i in trainer.training})
    pooled = trainer.encoder.encode(captions).pooled
    torch.testing.assert_close(trainer.model.text.pooled_mean, pooled.mean(0))


# ---- Numbers that break down ----------------------------------------------------------------------------------------


def test_a_broken_weight_skips_the_step_and_changes_nothing(
    debug_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = Trainer(debug_config())
    advance(trainer, 1)
    healthy = trainer.model.backbone.dit.x_embedder.proj.bias.detach().clone()
    trainer.model.backbone.dit.x_embedder.proj.bias.data[0] = math.nan
    before, average = weights(trainer), {name: value.clone() for name, value in trainer.ema.average.items()}
    names = [trainer.data.names[row] for row in trainer.rows()]
    metrics = advance(trainer, 1)[0]
    assert metrics["skipped"] == 1.0 and math.isnan(metrics["loss"]) and trainer.bad_steps == 1
    for name, value in weights(trainer).items():
        torch.testing.assert_close(value, before[name], atol=0, rtol=0, equal_nan=True)
    assert_equal(trainer.ema.average, average)
    said = capsys.readouterr().err
    assert all(name in said for name in names)
    trainer.model.backbone.dit.x_embedder.proj.bias.data.copy_(healthy)
    assert advance(trainer, 1)[0]["skipped"] == 0.0 and trainer.bad_steps == 0  # counted in a row only


def test_a_broken_clip_is_named_and_its_neighbours_are_not(
    debug_config: MakeConfig, clips_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = Trainer(debug_config(BATCH_SIZE=8))
    trainer.data = OneBrokenClip(clips_folder, num_frames=4, image_size=16)
    before = weights(trainer)
    assert advance(trainer, 1)[0]["skipped"] == 1.0
    assert_equal(weights(trainer), before)
    said = capsys.readouterr().err
    assert trainer.data.names[1] in said and trainer.data.names[2] not in said


def test_ten_broken_steps_in_a_row_stop_the_run_and_save_nothing(
    debug_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    config = debug_config(NUM_EPOCHS=100, SAVE_EVERY_EPOCHS=100, SAMPLE_EVERY_EPOCHS=0)
    trainer = Trainer(config)
    trainer.model.clip_mean.fill_(math.nan)
    with pytest.raises(TrainingError, match="10 steps in a row were not finite.*Lower LEARNING_RATE"):
        trainer.run()
    assert trainer.step == MAX_BAD_STEPS - 1 and not latest_path(config).exists()
    said = capsys.readouterr().err
    assert all(f"step {step}: loss or gradient is not finite" in said for step in range(MAX_BAD_STEPS))


def test_clipping_bounds_the_gradient_and_reports_its_true_norm(debug_config: MakeConfig) -> None:
    trainer = Trainer(debug_config(GRADIENT_CLIP=1e-12, LEARNING_RATE=1.0, WARMUP_STEPS=0, WEIGHT_DECAY=0.0))
    before = weights(trainer)
    assert advance(trainer, 1)[0]["gradient_norm"] > 1e-6
    largest = max(float((value - before[name]).abs().max()) for name, value in weights(trainer).items())
    assert largest < 1e-3  # Adam's own epsilon of 1e-8 swallows a gradient of 1e-12


# ---- Stopping and going on ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"GRADIENT_ACCUMULATION_STEPS": 2, "BATCH_SIZE": 1, "SHUFFLE_CAPTIONS": True, "EMA_EVERY": 2},
        {"LR_DECAY": "cosine", "TINYFUSION_FREEZE_BACKBONE": True, "EMA_DEVICE": "model", "BATCH_SIZE": 3},
    ],
    ids=["plain", "accumulating", "frozen"],
)
def test_resuming_in_the_middle_of_an_epoch_replays_bitwise(
    debug_config: MakeConfig, capsys: pytest.CaptureFixture[str], settings: dict[str, object]
) -> None:
    settings = {"SAMPLE_EVERY_EPOCHS": 0, "SAVE_EVERY_EPOCHS": 100, **settings}
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
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interruption_does_not_wait(debug_config: MakeConfig) -> None:
    class Impatient(InterruptedAt):
        def train_step(self) -> dict[str, float]:
            if self.step + 1 == self.last_step:
                signal.raise_signal(signal.SIGINT)
            return super().train_step()

    with pytest.raises(KeyboardInterrupt):
        Impatient(debug_config()).run()


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
    assert advance(trainer, 1)[0]["learning_rate"] == 0.02


def test_a_damaged_checkpoint_stops_the_run_and_is_left_as_it_is(debug_config: MakeConfig) -> None:
    config = debug_config()
    path = Trainer(config).save()
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        Trainer(config, resume=path)
    assert path.stat().st_size == 5000


def test_ctrl_c_saves_says_so_and_exits_with_130_and_resume_finishes(
    tmp_path: Path, clips_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"SAMPLE_EVERY_EPOCHS": 0, "SAVE_EVERY_EPOCHS": 5000, "NUM_EPOCHS": 5000}
    command = [sys.executable, "main.py", "train", *command_settings(tmp_path, clips_folder, **settings)]
    log = tmp_path / "logs" / "debug" / "metrics.jsonl"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        try:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and not (log.is_file() and log.read_text().count("\n") >= 3):
                time.sleep(0.05)
            run.send_signal(signal.SIGINT)
            out, err = run.communicate(timeout=60)
        finally:
            run.kill()
    assert run.returncode == 130, err
    assert "Interrupted: finishing this step, then saving." in err and "Traceback" not in err
    path = tmp_path / "checkpoints" / "debug" / "latest_checkpoint.pt"
    assert f"saved {path}" in out and path.is_file()
    again = shlex.split(out.splitlines()[-1].removeprefix("Go on with: python main.py "))
    step = json.loads(log.read_text().splitlines()[-1])["step"]
    assert main([*again, "--set", f"NUM_EPOCHS={step // 4 + 1}"]) == 0
    assert f"Finished at step {(step // 4 + 1) * 4:,}" in capsys.readouterr().out


# ---- Learning rate and averaging ------------------------------------------------------------------------------------


def test_the_learning_rate_warms_up_linearly_and_stays() -> None:
    config = Config(LEARNING_RATE=2.0, WARMUP_STEPS=4)
    assert [learning_rate(config, step, 100) for step in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert learning_rate(config, 99, 100) == 2.0
    assert learning_rate(Config(LEARNING_RATE=2.0, WARMUP_STEPS=0), 0, 100) == 2.0


def test_the_learning_rate_falls_as_half_a_cosine_from_its_start_to_zero() -> None:
    config = Config(LEARNING_RATE=2.0, WARMUP_STEPS=0, LR_DECAY="cosine", LR_DECAY_START=0.5)
    assert [learning_rate(config, step, 100) for step in (0, 49, 50)] == [2.0, 2.0, 2.0]
    assert learning_rate(config, 75, 100) == pytest.approx(1.0)
    assert learning_rate(config, 50 + 50 / 3, 100) == pytest.approx(1.5)
    assert learning_rate(config, 100, 100) == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize(("decay", "every"), [(0.999, 1), (0.9, 1), (0.999, 10), (0.95, 3), (0.0, 1)])
def test_the_initial_share_is_what_is_left_of_the_first_weights(decay: float, every: int) -> None:
    """A weight that is 1 at first and 0 ever after: its average is the share."""
    config = Config(EMA_DECAY=decay, EMA_EVERY=every)
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    ema = Ema(model, torch.device("cpu"))
    nn.init.zeros_(model.weight)
    for step in range(1, 101):
        if step % every == 0:
            ema.update(model, ema_decay(config, step))
    assert float(ema.average["weight"]) == pytest.approx(ema_initial_share(config, 100), rel=1e-4, abs=1e-30)


def test_the_decay_is_warmed_up_and_taken_to_the_power_of_the_steps_it_stands_for() -> None:
    assert ema_decay(Config(EMA_DECAY=0.999, EMA_EVERY=1), 0) == pytest.approx(0.1)
    assert ema_decay(Config(EMA_DECAY=0.9, EMA_EVERY=1), 1000) == 0.9
    assert ema_decay(Config(EMA_DECAY=0.9, EMA_EVERY=10), 1000) == pytest.approx(0.9**10)
    assert ema_decay(Config(EMA_DECAY=0.0, EMA_EVERY=1), 5) == 0.0


def test_an_average_without_decay_is_the_model_itself(debug_config: MakeConfig) -> None:
    trainer = Trainer(debug_config(EMA_DECAY=0.0))
    advance(trainer, 1)
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(trainer.ema.average[name], parameter.detach())


def test_averaged_weights_are_applied_and_the_own_ones_come_back_even_after_an_error() -> None:
    model = nn.Linear(2, 2)
    ema = Ema(model, torch.device("cpu"))
    average = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1.0)
    own = model.weight.detach().clone()
    with pytest.raises(RuntimeError, match="in between"), ema.applied_to(model):
        assert torch.equal(model.weight, average)
        raise RuntimeError("in between")
    assert torch.equal(model.weight, own) and torch.equal(ema.average["weight"], average)


def test_only_matrices_decay(debug_config: MakeConfig) -> None:
    trainer = Trainer(debug_config(WEIGHT_DECAY=0.3))
    matrices, others = trainer.optimizer.param_groups
    assert (matrices["weight_decay"], others["weight_decay"]) == (0.3, 0.0)
    assert all(p.dim() >= 2 for p in matrices["params"]) and all(p.dim() < 2 for p in others["params"])
    total = sum(len(group["params"]) for group in trainer.optimizer.param_groups)
    assert total == len(list(trainer.model.parameters()))


# ---- First weights and what is trained ------------------------------------------------------------------------------


def test_a_frozen_backbone_stays_and_the_rest_learns(debug_config: MakeConfig) -> None:
    trainer = Trainer(debug_config(TINYFUSION_FREEZE_BACKBONE=True, LEARNING_RATE=1e-2))
    before = weights(trainer)
    advance(trainer, 3)
    changed = {name for name, value in weights(trainer).items() if not torch.equal(value, before[name])}
    assert changed and not any(".dit.blocks." in name or ".t_embedder." in name for name in changed)
    assert any(".final_layer." in name for name in changed) and any(".adapters." in name for name in changed)


def test_a_run_without_trainable_parameters_is_refused_with_the_cure(
    debug_config: MakeConfig, encoder: TextEncoder
) -> None:
    from diffusion.text2sign import create_text2sign

    model = create_text2sign(debug_config(), encoder)
    model.requires_grad_(False)
    with pytest.raises(TrainingError, match="No trainable parameters. Set TINYFUSION_FREEZE_BACKBONE = False"):
        freeze_backbone(model, frozen=True)
    assert make_optimizer(create_text2sign(debug_config(), encoder), debug_config()).param_groups


def test_weights_that_are_required_and_absent_are_an_error_and_otherwise_announced(
    debug_config: MakeConfig, encoder: TextEncoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from diffusion.text2sign import create_text2sign

    absent = str(tmp_path / "none.pt")
    config = debug_config(TINYFUSION_INIT="auto", TINYFUSION_CHECKPOINT=absent)
    model = create_text2sign(config, encoder)
    initialise_backbone(model, config)
    assert f"from scratch ({absent} is absent" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="TINYFUSION_INIT=pretrained but .* does not exist"):
        initialise_backbone(model, debug_config(TINYFUSION_INIT="pretrained", TINYFUSION_CHECKPOINT=absent))
