"""utils/lock.py: one process at a time, whatever became of the one before."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from main import main
from tests.conftest import command_settings
from utils import processes
from utils.lock import Lock, LockError

ROOT = Path(__file__).resolve().parents[2]
RACE = """
import sys
from pathlib import Path
from utils.lock import Lock, LockError
lock = Lock(Path(sys.argv[1]), work="racing", otherwise="Later.")
print("ready", flush=True)
sys.stdin.readline()
try:
    lock.take()
    print("mine", flush=True)
except LockError:
    print("refused", flush=True)
sys.stdin.readline()
"""


def lock_at(path: Path) -> Lock:
    return Lock(path, work="training debug", otherwise="Elsewhere: --set X=Y")


def owned_by(path: Path, **changes: object) -> str:
    """The lock of a process that lives: the one that started this one."""
    facts = {"host": socket.gethostname(), "process": os.getppid(), "began": processes.began(os.getppid())}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**facts, **changes}))
    return path.read_text()


def ended_process() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_a_lock_is_held_until_it_is_released_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "training.lock"
    lock = lock_at(path)
    lock.take()
    facts = json.loads(path.read_text())
    assert (facts["host"], facts["process"]) == (socket.gethostname(), os.getpid())
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_what_lies_beside_a_lock_stays(tmp_path: Path) -> None:
    lock = lock_at(tmp_path / "new" / "training.lock")
    lock.take()
    (tmp_path / "new" / "work").write_text("mine")
    lock.release()
    assert [one.name for one in (tmp_path / "new").iterdir()] == ["work"]


def test_a_living_process_keeps_its_lock(tmp_path: Path) -> None:
    before = owned_by(tmp_path / "training.lock")
    lock = lock_at(tmp_path / "training.lock")
    with pytest.raises(LockError) as caught:
        lock.take()
    assert str(caught.value) == (
        f"{tmp_path}/training.lock: process {os.getppid()} is training debug. Wait for it. Elsewhere: --set X=Y"
    )
    lock.release()
    assert (tmp_path / "training.lock").read_text() == before


def test_a_process_on_another_host_keeps_its_lock_and_the_cure_is_said(tmp_path: Path) -> None:
    before = owned_by(tmp_path / "training.lock", host="elsewhere", process=ended_process())
    with pytest.raises(LockError, match="on elsewhere is training debug; .* If it does not, remove the file. Elsewh"):
        lock_at(tmp_path / "training.lock").take()
    assert (tmp_path / "training.lock").read_text() == before


@pytest.mark.parametrize("owner", ["ended", "number given again", "own number", "cut short", "not ours"])
def test_a_lock_whose_owner_has_ended_is_taken_over(tmp_path: Path, owner: str) -> None:
    path = tmp_path / "training.lock"
    changes = {"ended": {"process": ended_process()}, "own number": {"process": os.getpid()}}
    owned_by(path, **changes.get(owner, {"began": "long ago"}))
    if owner in ("cut short", "not ours"):
        path.write_text({"cut short": '{"host": "x"', "not ours": '["x"]'}[owner])
    lock_at(path).take()
    assert json.loads(path.read_text())["process"] == os.getpid() and list(tmp_path.iterdir()) == [path]


def test_of_many_that_find_a_dead_lock_at_once_one_takes_it_over(tmp_path: Path) -> None:
    owned_by(tmp_path / "training.lock", process=ended_process())
    command = [sys.executable, "-c", RACE, str(tmp_path / "training.lock")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    racers = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(6)]
    for word in ("ready", "mine or refused"):
        said = [racer.stdout.readline().strip() for racer in racers]
        assert word != "ready" or said == ["ready"] * 6
        for racer in racers:
            racer.stdin.write("\n")
            racer.stdin.flush()
    for racer in racers:
        racer.communicate()
    assert sorted(said) == ["mine", *["refused"] * 5]
    assert [one.name for one in tmp_path.iterdir()] == ["training.lock"]


def test_a_disk_that_refuses_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(LockError, match="taken/training.lock cannot be written: .*[.] Elsewhere"):
        lock_at(tmp_path / "taken" / "training.lock").take()


def test_a_second_training_of_an_experiment_is_refused_and_touches_nothing(
    here: Path, clips_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = here / "checkpoints" / "debug" / "training.lock"
    before = owned_by(path)
    assert main(["train", *command_settings(here, clips_folder)]) == 2
    told = capsys.readouterr().err
    assert f"error: {path}: process {os.getppid()} is training debug. Wait for it. Train another beside it" in told
    assert {one.name for one in here.rglob("*")} <= {"checkpoints", "debug", "training.lock"}
    assert path.read_text() == before


def test_a_training_that_was_killed_leaves_the_experiment_to_the_next(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that ends for another reason, so at once, and leaves no lock."""
    path = here / "checkpoints" / "debug" / "training.lock"
    owned_by(path, process=ended_process())
    assert main(["train", *command_settings(here, here / "nowhere")]) == 2
    assert "nowhere is no folder" in capsys.readouterr().err and not path.exists()
