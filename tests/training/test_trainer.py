"""methods/trainer.py on real debug runs, on the CPU: its steps, and numbers that break down."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from config import Config
from dataset import TextToSignDataset
from methods.trainer import MAX_BAD_STEPS, Trainer
from methods.training.step import StepResult
from methods.training.warm_start import TrainingError
from tests.conftest import CAPTIONS, moving_square, write_pair
from tests.update_golden import GOLDEN, first_losses
from utils.checkpoints.file import latest_path

MakeConfig = Callable[..., Config]


class OneBrokenClip(TextToSignDataset):
    """The second clip in the order of names comes out as NaN."""

    def videos(self, indices: list[int], *, drawn: tuple[int, int] | None = None) -> Tensor:
        broken = torch.tensor([math.nan if index == 1 else 1.0 for index in indices])
        return super().videos(indices, drawn=drawn) * broken[:, None, None, None, None]


def advance(trainer: Trainer, num_steps: int) -> list[StepResult]:
    """The results of the next steps; nothing is written to disk."""
    metrics = []
    for _ in range(num_steps):
        metrics.append(trainer.train_step())
        trainer.step += 1
    return metrics


def weights(trainer: Trainer) -> dict[str, Tensor]:
    """All that the optimiser may change, and the statistics of the data."""
    state = trainer.model.state_dict()
    return {name: value.detach().clone() for name, value in state.items() if not name.startswith("residual.")}


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
        torch.testing.assert_close(one.losses, two.losses, rtol=1e-4, atol=0)
        assert one.gradient_norm == pytest.approx(two.gradient_norm, rel=1e-4)
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
    assert len(trainer.rows()) == 2 and math.isfinite(trainer.train_step().loss)


def test_the_clips_are_shuffled_once_an_epoch_and_not_in_every_step(debug_config: MakeConfig) -> None:
    """Of 31,000 clips, a shuffle takes as long as a step of a small model."""

    class Shuffles(TorchDispatchMode):
        num = 0

        def __torch_dispatch__(
            self, func: object, types: object, args: tuple = (), kwargs: dict | None = None
        ) -> object:
            self.num += func is torch.ops.aten.randperm.generator
            return func(*args, **(kwargs or {}))

    trainer = Trainer(debug_config())
    with Shuffles() as seen:
        for step in (*range(trainer.num_steps), 0, 1):  # and back, as after a resume
            trainer.step = step
            trainer.rows()
    assert (trainer.steps_per_epoch, trainer.num_steps, seen.num) == (4, 8, 3)


def test_held_out_clips_are_never_trained_on(debug_config: MakeConfig) -> None:
    trainer = Trainer(debug_config(VALIDATION_FRACTION=0.25))
    held_out = {trainer.data.names[i].split("__")[0] for i in trainer.validation}
    assert len(held_out) == 1 and len(trainer.training) == 6
    for step in range(trainer.num_steps):
        trainer.step = step
        assert not set(trainer.rows()) & set(trainer.validation)


def test_a_clip_that_is_for_test_as_well_is_named_not_trained_on_and_no_change_to_a_resume(
    debug_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = (("a", 0, "train"), ("b", 1, "train"), ("c", 2, "validation"), ("d", 0, "test"))
    for name, index, _ in clips:
        write_pair(tmp_path / "clips", name, moving_square(index), name)
    lines = ["file_name,text,split", *(f"{name}.gif,{name},{split}" for name, _, split in clips)]
    (tmp_path / "clips" / "metadata.csv").write_text("\n".join(lines))
    config = debug_config(DATA_DIR=str(tmp_path / "clips"))
    trainer = Trainer(config)
    assert (trainer.training, trainer.validation) == ([1], [2])
    assert "in two parts, so not trained on: a = d (test)" in capsys.readouterr().err
    path = trainer.save()
    assert Trainer(config, resume=path).training == [1] and "changed" not in capsys.readouterr().err
    assert Trainer(replace(config, TRAIN_ON_DOUBLES=True), resume=path).training == [0, 1]
    err = capsys.readouterr().err
    assert "trained on, though in two parts: a = d (test)" in err and "changed: training data 1 clips" in err


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
        debug_config(
            DATA_DIR=str(tmp_path / "one"),
            BATCH_SIZE=1,
            LEARNING_RATE=4e-3,
            NUM_EPOCHS=200,
            WARMUP_STEPS=10,
            GRADIENT_CHECKPOINTING=False,
            TINYFUSION_FRAME_CHUNK_SIZE=4,
        )
    )
    losses = [metrics.loss for metrics in advance(trainer, 150)]
    assert sum(losses[:5]) / 5 > 0.5 and sum(losses[-20:]) / 20 < 0.05


def test_clips_that_all_have_one_caption_are_told_at_the_start_in_one_line(
    tmp_path: Path, debug_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    """By those to train on alone. Standardised, their pooled text is zero, so that nothing behind it learns."""
    (tmp_path / "clips").mkdir()
    for index, caption in enumerate(("hello", "hello", "hello", "thanks")):
        write_pair(tmp_path / "clips", f"clip{index}", moving_square(index), caption)
    for held_out, num_told in (("clip3", 1), ("clip2", 0)):
        (tmp_path / "split.json").write_text(json.dumps({"held_out": [held_out]}))
        Trainer(debug_config(DATA_DIR=str(tmp_path / "clips"), SPLIT_FILE=str(tmp_path / "split.json")))
        said = capsys.readouterr().err
        assert said.count("note: all 3 clips to train on have the caption 'hello': text teaches nothing") == num_told


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
    assert metrics.skipped and math.isnan(metrics.loss) and trainer.bad_steps == 1
    for name, value in weights(trainer).items():
        torch.testing.assert_close(value, before[name], atol=0, rtol=0, equal_nan=True)
    assert_equal(trainer.ema.average, average)
    said = capsys.readouterr().err
    assert all(name in said for name in names)
    trainer.model.backbone.dit.x_embedder.proj.bias.data.copy_(healthy)
    assert not advance(trainer, 1)[0].skipped and trainer.bad_steps == 0  # counted in a row only


def test_a_broken_clip_is_named_and_its_neighbours_are_not(
    debug_config: MakeConfig, clips_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = Trainer(debug_config(BATCH_SIZE=8))
    trainer.data = OneBrokenClip(clips_folder, num_frames=4, image_size=16)
    before = weights(trainer)
    assert advance(trainer, 1)[0].skipped
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
    assert advance(trainer, 1)[0].gradient_norm > 1e-6
    largest = max(float((value - before[name]).abs().max()) for name, value in weights(trainer).items())
    assert largest < 1e-3  # Adam's own epsilon of 1e-8 swallows a gradient of 1e-12
