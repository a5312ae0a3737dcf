"""What benchmarks share: the facts that every result file carries, and a command of the project, timed."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from utils.runtime import memory_gib

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parent.parent


def describe() -> dict[str, Any]:
    """Processor, cores, versions and the commit (``+`` marks uncommitted changes)."""
    commit = _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain", "-uno") else "")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit,
    }


def write_result(name: str, command: str, result: dict[str, Any], *, folder: Path = RESULTS) -> Path:
    """Store ``result`` with the machine and the command that made it."""
    path = folder / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"command": command, "machine": describe(), **result}, indent=2) + "\n")
    return path


def newest_report(experiment: Path) -> Path | None:
    """The ``evaluation.json`` that was written last below an experiment's folder of samples."""
    reports = experiment.glob("evaluation_step*/evaluation.json")
    return max(reports, key=lambda path: path.stat().st_mtime, default=None)


def command_line(name: str) -> str:
    """The command that started ``python -m benchmarks.NAME``."""
    return shlex.join(["python", "-m", f"benchmarks.{name}", *sys.argv[1:]])


def result_name(base: str, *choices: tuple[str, str]) -> str:
    """The name of a result file; of each choice (value, default) the value stands in it if it is not the default."""
    return "_".join([base, *(value for value, default in choices if value != default)])


def peak_memory_bytes(device: torch.device) -> int:
    """Largest memory of this process so far: on a GPU what torch allocated, else the resident set."""
    found = memory_gib(device)
    return round(found.get("gpu_peak", found.get("mps_reserved", found["host_peak"])) * 2**30)


def run_command(command: str) -> float:
    """Seconds that ``python main.py COMMAND`` takes; stops the benchmark if it fails."""
    print(f"$ python main.py {command}", flush=True)
    start = time.perf_counter()
    subprocess.run([sys.executable, "main.py", *shlex.split(command)], cwd=ROOT, check=True)
    return time.perf_counter() - start


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=Path(__file__).parent)
    return done.stdout.strip()
