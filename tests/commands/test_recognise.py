"""methods/fix_config.py and fix-config on checkpoints that have lost their settings."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import config as settings
from benchmarks.recognise import UNTRACED, outcome, random_config, write_checkpoint
from config import make_config
from diffusion.text2sign import ARCHITECTURES
from main import main
from methods.fix_config import recognise

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    return Path(shutil.copy(settings.__file__, tmp_path / "config.py"))


def fix(path: Path, file: Path) -> int:
    return main(["fix-config", "--checkpoint", str(path), "--file", str(file)])


@pytest.mark.parametrize("with_settings", [True, False])
@pytest.mark.parametrize("number", range(10))  # two of each architecture
def test_random_checkpoints_are_recognised_and_nothing_wrong_is_written(
    number: int, with_settings: bool, tmp_path: Path
) -> None:
    found = outcome(random_config(number), tmp_path, with_settings=with_settings)
    assert found == "right" or (found == "refused" and not with_settings)  # NUM_FRAMES may not fit, and is not known


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_what_no_tensor_shows_is_said_and_left_alone(
    name: str, tmp_path: Path, config_file: Path, capsys: Capture
) -> None:
    stored = make_config("debug", {"MODEL_ARCHITECTURE": name, "PREDICTION_TYPE": "epsilon", "TIMESTEPS": 70})
    write_checkpoint(stored, tmp_path / "a.pt", with_settings=False)
    assert fix(tmp_path / "a.pt", config_file) == 0
    said = capsys.readouterr().out
    assert f"its tensors are those of {stored.MODEL_NAME}" in said and ", ".join(UNTRACED) in said
    changed = [line for line in config_file.read_text().splitlines() if line not in open(settings.__file__).read()]
    assert any("MODEL_ARCHITECTURE" in line for line in changed) or name == "tinyfusion"
    assert not any(key in line for line in changed for key in UNTRACED)


@pytest.mark.parametrize("damage", ["one tensor less", "one tensor more", "another shape", "no model at all"])
def test_tensors_that_fit_no_model_exactly_change_nothing(
    damage: str, tmp_path: Path, config_file: Path, capsys: Capture
) -> None:
    write_checkpoint(make_config("debug"), tmp_path / "a.pt", with_settings=False)
    tensors = torch.load(tmp_path / "a.pt", weights_only=True)["model"]
    name = "backbone.dit.blocks.1.mlp.fc2.bias"
    if damage == "one tensor less":
        del tensors[name]
    elif damage == "one tensor more":
        tensors["backbone.extra"] = torch.zeros(1)
    elif damage == "another shape":
        tensors[name] = torch.zeros(63)
    else:
        tensors = {"a": torch.zeros(1)}
    assert recognise(tensors) is None
    torch.save({"model": tensors}, tmp_path / "a.pt")
    before = config_file.read_bytes()
    assert fix(tmp_path / "a.pt", config_file) == 2
    assert "has lost its settings, and its" in capsys.readouterr().err and config_file.read_bytes() == before


def test_a_damaged_checkpoint_is_not_guessed_at(tmp_path: Path, config_file: Path, capsys: Capture) -> None:
    write_checkpoint(make_config("debug"), tmp_path / "a.pt", with_settings=True)
    data = bytearray((tmp_path / "a.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "a.pt").write_bytes(data)
    assert fix(tmp_path / "a.pt", config_file) == 2 and "SHA-256" in capsys.readouterr().err
