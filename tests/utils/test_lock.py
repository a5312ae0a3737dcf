"""utils/lock.py: one process at a time, whatever became of the one before."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from main import main
from tests.conftest import command_settings
from utils.lock import Lock, LockError

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys
from pathlib import Path
from utils.lock import Lock
lock = Lock(Path(sys.argv[1]), work="holding", otherwise="Later.")
lock.take()
print("mine", flush=True)
sys.stdin.readline()
"""


def lock_at(path: Path) -> Lock:
    return Lock(path, work="training debug", otherwise="Elsewhere: --set X=Y")


@contextlib.contextmanager
def held_elsewhere(path: Path) -> Iterator[None]:
    """By another process, which is killed in the end."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], cwd=ROOT, **pipes)
    try:
        assert holder.stdout.readline() == "mine\n"
        yield
    finally:
        holder.kill()
        holder.communicate()


def test_a_lock_is_held_until_it_is_released_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "training.lock"
    lock, other = lock_at(path), lock_at(path)
    lock.take()
    with pytest.raises(LockError):
        other.take()
    other.release()
    assert path.is_file()
    lock.release()
    assert list(tmp_path.iterdir()) == []
    other.take()
    other.release()


def test_what_lies_beside_a_lock_stays(tmp_path: Path) -> None:
    lock = lock_at(tmp_path / "new" / "training.lock")
    lock.take()
    (tmp_path / "new" / "work").write_text("mine")
    lock.release()
    assert [one.name for one in (tmp_path / "new").iterdir()] == ["work"]


def test_a_disk_that_refuses_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(LockError, match="taken/training.lock cannot be written: .*[.] Elsewhere"):
        lock_at(tmp_path / "taken" / "training.lock").take()


def test_a_second_training_is_refused_and_touches_nothing_and_a_killed_one_leaves_all_to_the_next(
    here: Path, clips_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = here / "checkpoints" / "debug" / "training.lock"
    with held_elsewhere(path):
        assert main(["train", *command_settings(here, clips_folder)]) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"error: {path}: another process is training debug. Wait for it. Train another beside")
        assert {one.name for one in here.rglob("*")} == {"checkpoints", "debug", "training.lock"}
    assert path.is_file()
    assert main(["train", *command_settings(here, here / "nowhere")]) == 2  # for another reason, so at once
    assert "nowhere is no folder" in capsys.readouterr().err and not path.exists()
