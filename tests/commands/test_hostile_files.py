"""Files and names that no one expects, through the commands that a user types: one line, nothing run, nothing lost."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
import torch

from main import main
from tests.conftest import command_settings, files_below
from tests.utils.test_checkpoint import Bomb, content
from tests.utils.test_checkpoint_seal import reseal

STRANGE = "ein Ordner/für später 手話 'quoted' $HOME; [x]"


def flipped(trained: Path, path: Path) -> Path:
    """A real checkpoint with one bit changed in the middle of its tensors."""
    data = bytearray(trained.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", ["a pickle bomb", "a sealed pickle bomb", "truncated", "flipped", "text"])
def test_every_command_refuses_a_hostile_checkpoint_in_one_line(
    here: Path, clips_folder: Path, trained_checkpoint: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, crater = here / "a b.pt", here / "crater"
    if "bomb" in kind:
        torch.save(content(scaler=Bomb(crater)), path)
        if "sealed" in kind:
            reseal(path)
    elif kind == "truncated":
        path.write_bytes(trained_checkpoint.read_bytes()[:-100_000])
    elif kind == "flipped":
        flipped(trained_checkpoint, path)
    else:
        path.write_text("hello")
    for command in (
        ["sample", "--checkpoint", str(path), "--text", "yes"],
        ["evaluate", "--checkpoint", str(path)],
        ["fix-config", "--checkpoint", str(path), "--dry-run"],
        ["train", *command_settings(here, clips_folder), "--resume", str(path)],
    ):
        assert main(command) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1
        assert err.startswith(f"error: {path} cannot be read as a checkpoint: ")
        assert err.endswith("Use another: python main.py checkpoints\n")
    assert [left.name for left in here.iterdir()] == ["a b.pt"]  # no crater


def test_spaces_unicode_and_shell_signs_in_paths_are_only_characters(
    here: Path, clips_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = here / STRANGE
    shutil.copytree(clips_folder, place / "clips")
    arguments = command_settings(place, place / "clips", SAMPLE_EVERY_EPOCHS=0, EXPERIMENT_NAME="é 手")
    assert main(["train", *arguments, "--set", "NUM_EPOCHS=1"]) == 0
    assert main(["train", *arguments, "--resume"]) == 0
    latest = place / "checkpoints" / "é 手" / "latest_checkpoint.pt"
    capsys.readouterr()
    assert main(["checkpoints", "--set", f"CHECKPOINT_DIR={place / 'checkpoints'}"]) == 0
    out = capsys.readouterr().out
    assert out.count("tinyfusion") == 3 and str(latest) in out and "unusable" not in out
    assert main(["sample", "--checkpoint", str(latest), "--text", "größe 手話", "--output", str(place / "out")]) == 0
    gif = Path(capsys.readouterr().out.strip())
    assert gif.is_file() and gif.parent == place / "out" and gif.name.isascii()
    before = files_below(here)
    assert main(["train", *arguments, "--resume", "--set", "NUM_FRAMES=6"]) == 2
    err = capsys.readouterr().err
    hint = shlex.split(err.rstrip().split("Run: python main.py ")[1])
    assert hint == ["fix-config", "--checkpoint", str(latest)]  # can be pasted into a shell
    assert main([*hint, "--dry-run"]) == 0 and files_below(here) == before
