"""start_tensorboard.sh, which is a shell script and a Python program at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "start_tensorboard.sh"
PYTHON = Path(sys.executable)


def start(shell: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """``bash`` or ``python``, with this environment's Python the first on the path."""
    program = "bash" if shell == "bash" else sys.executable
    environment = {**os.environ, "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        [program, str(SCRIPT), *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A folder that holds the logs of one run, with a space in its name."""
    run = tmp_path / "logs" / "my run"
    run.mkdir(parents=True)
    (run / "events.out.tfevents.1.host").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize("shell", ["bash", "python"])
def test_both_start_tensorboard_on_the_port_that_is_promised(shell: str, logs: Path) -> None:
    done = start(shell, "my run", "--dry-run", folder=logs)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip().endswith("-m tensorboard.main --logdir logs/my run --port 6006")
    done = start(shell, "--dry-run", "--port", "7007", folder=logs)
    assert done.stdout.strip().endswith("--logdir logs --port 7007")


@pytest.mark.parametrize("shell", ["bash", "python"])
def test_both_say_in_one_line_what_is_missing(shell: str, logs: Path) -> None:
    done = start(shell, "other", folder=logs)
    assert done.returncode == 2 and done.stderr == "error: logs/other holds no logs. There are: my run\n"
    (logs / "empty").mkdir()
    done = start(shell, folder=logs / "empty")
    wanted = "error: logs/ holds no logs yet. Train first: python main.py train\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", wanted)


def test_a_python_without_tensorboard_is_told_how_to_get_it(logs: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-S", str(SCRIPT)], cwd=logs, capture_output=True, text=True, check=False
    )  # -S hides installed packages
    assert done.returncode == 2 and done.stderr.endswith(
        "has no tensorboard. Install it: pip install -r requirements.txt\n"
    )


def test_both_explain_themselves(tmp_path: Path) -> None:
    for shell in ("bash", "python"):
        done = start(shell, "--help", folder=tmp_path)
        assert done.returncode == 0 and "usage: start_tensorboard.sh" in done.stdout
