"""utils/checkpoints/exported.py: a folder is the checkpoint that it came from, bit for bit, and names no place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from config import make_config
from main import main
from methods.sampling.generate import generate
from methods.sampling.loading import load_model
from methods.sampling.provenance import Request
from methods.trainer import Trainer
from utils.checkpoints import exported
from utils.checkpoints import file as checkpoint


@pytest.fixture(scope="module")
def both(trained_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint, and the folder that it was exported to."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    exported.write_folder(folder, checkpoint.load(trained_checkpoint))
    return trained_checkpoint, folder


def test_a_round_trip_loses_no_bit_of_the_averaged_weights(both: tuple[Path, Path]) -> None:
    before, after = (exported.averaged(exported.load(path)) for path in both)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_a_clip_of_the_folder_is_that_of_the_checkpoint(both: tuple[Path, Path]) -> None:
    frames = [generate(load_model(path), [Request("hello", 3, 0)])[0].frames for path in both]
    assert (frames[0] == frames[1]).all()


def test_the_settings_name_no_place_of_the_machine(both: tuple[Path, Path]) -> None:
    text = (both[1] / exported.SETTINGS).read_text()
    assert str(both[0].parent.parent) not in text and not set(exported.PLACES) & set(json.loads(text)["config"])


def test_a_training_begins_with_the_weights_of_a_folder(both: tuple[Path, Path], tmp_path: Path) -> None:
    stored = checkpoint.config_of(checkpoint.load(both[0]), both[0])
    places = {key: str(tmp_path / key) for key in ("CHECKPOINT_DIR", "LOG_DIR", "SAMPLE_DIR")}
    trainer = Trainer(make_config("default", {**stored.to_dict(), **places}), init=both[1])
    weights = exported.averaged(exported.load(both[1]))
    assert trainer.step == 0 and all(torch.equal(trainer.model.state_dict()[name], weights[name]) for name in weights)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / exported.SETTINGS).unlink(), "is no exported model"),
        (lambda folder: (folder / exported.SETTINGS).write_text("[]"), "is no exported model"),
        (lambda folder: (folder / exported.WEIGHTS).write_bytes(b"x"), "is not the file that config.json describes"),
        (lambda folder: (folder / exported.WEIGHTS).unlink(), "cannot be read"),
    ],
)
def test_a_damaged_folder_is_one_line_and_exit_code_2(
    spoil: object, reason: str, both: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exported.write_folder(tmp_path / "model", checkpoint.load(both[0]))
    spoil(tmp_path / "model")
    assert main(["sample", "--checkpoint", str(tmp_path / "model"), "--text", "x"]) == 2
    assert reason in capsys.readouterr().err.splitlines()[-1]


def test_init_and_resume_are_not_taken_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--init", "model", "--resume"]) == 2 and "wanted one of them" in capsys.readouterr().err
