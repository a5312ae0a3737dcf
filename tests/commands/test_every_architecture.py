"""Every architecture through the commands that a user types: train, resume, sample, evaluate, fix-config."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import config as settings
from config import Config
from diffusion.text2sign import ARCHITECTURES
from main import main
from tests.commands.test_fix_config import values_of
from tests.conftest import command_settings
from utils.checkpoints import file as checkpoint

NAMES = sorted(ARCHITECTURES)
QUIET = {f"{what}_EVERY_EPOCHS": 0 for what in ("SAMPLE", "VALIDATE", "RANK", "LOG_DETAILS")}
BRIEF = {**QUIET, "BATCH_SIZE": 4, "UNET_PATCH_SIZE": 4}  # two steps an epoch
Train = Callable[..., Path]


def latest(folder: Path) -> Path:
    return folder / "checkpoints" / "debug" / "latest_checkpoint.pt"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, clips_folder: Path) -> Callable[[str], Path]:
    """``runs("vivit")``: the folder of its debug run of one epoch; read only."""
    folder = tmp_path_factory.mktemp("runs")

    @functools.cache
    def run(name: str) -> Path:
        chosen = command_settings(folder / name, clips_folder, **BRIEF, MODEL_ARCHITECTURE=name, NUM_EPOCHS=1)
        assert main(["train", *chosen]) == 0
        return folder / name

    return run


@pytest.fixture
def resume(tmp_path: Path, clips_folder: Path, runs: Callable[[str], Path]) -> Train:
    """``resume("vivit", UNET_WIDTH=64)``: a copy of its run goes on to two epochs; the latest checkpoint."""

    def run(name: str, **overrides: object) -> Path:
        folder = Path(shutil.copytree(runs(name), tmp_path / "parts"))
        chosen = command_settings(folder, clips_folder, **BRIEF, MODEL_ARCHITECTURE=name, NUM_EPOCHS=2, **overrides)
        assert main(["train", "--resume", *chosen]) == 0
        return latest(folder)

    return run


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_samples_is_not_evaluated_too_soon_and_is_recognised(
    name: str, runs: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs(name)
    path = str(latest(run))
    clips, report = tmp_path / "clips", tmp_path / "report"
    assert main(["sample", "--checkpoint", path, "--text", "hello", "--output", str(clips)]) == 0
    assert len(list(clips.glob("*.gif"))) == 1
    assert main(["evaluate", "--checkpoint", path, "--output", str(report)]) == 2
    assert "at step 2 has learnt nothing yet" in capsys.readouterr().err and not report.exists()
    assert main(["checkpoints", "--set", f"CHECKPOINT_DIR={run / 'checkpoints'}"]) == 0
    assert name in capsys.readouterr().out

    copy = tmp_path / "config.py"
    shutil.copy(settings.__file__, copy)
    assert main(["fix-config", "--checkpoint", path, "--file", str(copy)]) == 0
    capsys.readouterr()
    assert main(["fix-config", "--checkpoint", path, "--file", str(copy)]) == 0
    assert "fits" in capsys.readouterr().out  # nothing is left to change
    fitted, stored = values_of(copy), checkpoint.load(path)["config"]
    assert all(fitted[key] == stored[key] for key in settings.model_keys(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_run_in_two_parts_is_the_run_in_one(name: str, resume: Train, clips_folder: Path, tmp_path: Path) -> None:
    """Bit for bit: weights, their average, the optimiser's moments."""
    chosen = command_settings(tmp_path / "whole", clips_folder, **BRIEF, MODEL_ARCHITECTURE=name, NUM_EPOCHS=2)
    assert main(["train", *chosen]) == 0
    whole, parts = checkpoint.load(latest(tmp_path / "whole")), checkpoint.load(resume(name))
    assert parts["step"] == whole["step"] == 4
    for part in ("model", "ema"):
        assert parts[part].keys() == whole[part].keys()
        assert all(torch.equal(parts[part][key], value) for key, value in whole[part].items())
    moments, wanted = parts["optimizer"]["state"], whole["optimizer"]["state"]
    assert all(torch.equal(moments[i]["exp_avg_sq"], wanted[i]["exp_avg_sq"]) for i in wanted)


@pytest.mark.parametrize("name", NAMES)
def test_another_architecture_s_checkpoint_is_refused_with_the_cure(
    name: str, runs: Callable[[str], Path], capsys: pytest.CaptureFixture[str], clips_folder: Path
) -> None:
    other = NAMES[NAMES.index(name) - 1]
    chosen = command_settings(runs(name), clips_folder, MODEL_ARCHITECTURE=other)
    assert main(["train", "--resume", *chosen]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"MODEL_ARCHITECTURE='{name}'" in error and f"'{other}'" in error and "fix-config" in error


def test_what_another_architecture_reads_may_change_between_runs(resume: Train) -> None:
    resume("vivit", UNET_WIDTH=64)


def test_presets_fit_every_architecture() -> None:
    for preset in settings.PRESETS:
        for name in NAMES:
            config = settings.make_config(preset, {"MODEL_ARCHITECTURE": name})
            assert isinstance(config, Config) and config.MODEL_NAME.startswith(name)
