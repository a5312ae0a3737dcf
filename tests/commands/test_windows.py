"""What Windows does not have is taken away, and every command must start: the nearest to it that runs everywhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import command_settings

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_POSIX = """
import os, signal, sys
import psutil  # what others have made for each system is taken as it is here
if len(sys.argv) > 1:
    from torch.utils import tensorboard
    from transformers import BertModel, BertTokenizerFast
kill = os.kill

def no_kill(process, number):
    caller = sys._getframe(1).f_globals["__name__"]
    assert caller.startswith("psutil"), f"{caller} sends signal {number}: on Windows that ends the process"
    kill(process, number)

os.kill, open_file = no_kill, os.open

def open_no_folder(path, *args, **more):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", path)
    return open_file(path, *args, **more)

os.open = open_no_folder
for name in ("fcntl", "resource"):
    sys.modules[name] = None  # an import of it is an error
for name in ("sysconf", "getuid", "geteuid", "getgid", "getpgid", "setsid", "fork", "nice", "getloadavg"):
    delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGALRM", "SIGUSR1", "SIGCHLD", "SIGQUIT"):
    delattr(signal, name)
from main import COMMANDS, main
"""


def run_without_posix(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Output goes to a file or pipe in the code page that Windows has there."""
    surroundings = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", WITHOUT_POSIX + code, *arguments]
    return subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True, encoding="cp1252")


def test_every_command_answers_without_what_posix_alone_has() -> None:
    done = run_without_posix("""
for words in ([], *([c.__name__.rpartition(".")[2].replace("show_", "").replace("_", "-")] for c in COMMANDS)):
    try:
        main([*words, "--help"])
    except SystemExit as end:
        print("code", end.code)
print("code", main(["config", "--set", "EXPERIMENT_NAME=\\u0142"]))
""")
    assert done.returncode == 0, done.stderr
    codes = re.findall(r"^code (.*)$", done.stdout, re.MULTILINE)
    assert len(codes) > 9 and set(codes) == {"0"} and "\\u0142" in done.stdout


def test_training_sampling_listing_and_planning_work_without_what_posix_alone_has(
    tmp_path: Path, clips_folder: Path
) -> None:
    settings = command_settings(tmp_path, clips_folder, NUM_EPOCHS=1, RANK_EVERY_EPOCHS=0)
    done = run_without_posix(
        """
arguments = sys.argv[1:]
print("code", main(["train", *arguments]))
print("code", main(["train", *arguments, "--set", "NUM_EPOCHS=2", "--resume"]))
print("code", main(["sample", *arguments, "--text", "thank you"]))
print("code", main(["checkpoints", *arguments]))
print("code", main(["plan", *arguments]))
""",
        *settings,
    )
    assert re.findall(r"^code (.*)$", done.stdout, re.MULTILINE) == ["0"] * 5, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and len(list(tmp_path.rglob("*.gif"))) >= 2
