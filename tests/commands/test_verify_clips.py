"""commands/{train,evaluate}.py: --verify."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from config import make_config
from dataset import load_dataset
from main import main
from tests.conftest import command_settings, debug_settings, write_clips_folder


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_clips_that_changed_and_kept_size_and_time_are_found_when_asked_for(
    command: str, trained_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = write_clips_folder(tmp_path / "clips")
    settings = command_settings(tmp_path, clips)
    which = ["--checkpoint", str(trained_checkpoint)] if command == "evaluate" else []
    for gif in clips.glob("*.gif"):
        os.utime(gif, (1e9, 1e9))
    load_dataset(make_config("debug", debug_settings(tmp_path, clips)))
    for gif in clips.glob("*.gif"):
        gif.write_bytes(b"x" * gif.stat().st_size)
        os.utime(gif, (1e9, 1e9))
    assert len(load_dataset(make_config("debug", debug_settings(tmp_path, clips)))) == 8
    assert main([command, *which, *settings, "--verify"]) == 2
    assert "holds no usable clip" in capsys.readouterr().err
