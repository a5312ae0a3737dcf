"""Starts real processes that meet in a gloo group, as torchrun's do, without importing torch anew in each of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]

PATIENCE = 300  # seconds, on a machine that others use
IMPORTED = [
    "tests.training.test_distributed", "torch._dynamo", "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto", "transformers.models.bert.modeling_bert",
]  # fmt: skip
"""The tests, and what a training imports only once it needs it."""


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code, and what it said."""

    code: int | None
    out: str
    err: str


def run_many(folder: Path, function: Callable[..., object], *arguments: object, size: int = 2) -> list[Ended]:
    """``function(*arguments)`` in each of ``size`` processes; an int that it returns is the exit code.

    They are copies of one that has imported what the tests need (a fork server), and write to files in ``folder``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    port = _free_port()
    started = [
        context.Process(target=_take_part, args=(rank, size, port, folder, function, arguments)) for rank in range(size)
    ]
    for process in started:
        process.start()
    deadline = time.monotonic() + PATIENCE
    for process in started:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
    said = [[_said(folder / f"{name}{rank}.txt") for name in ("out", "err")] for rank in range(size)]
    return [Ended(process.exitcode, *texts) for process, texts in zip(started, said, strict=True)]


def _take_part(
    rank: int, size: int, port: int, folder: Path, function: Callable[..., object], arguments: tuple[object, ...]
) -> None:
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    os.environ.update({**{name: str(number) for name, number in numbers.items()}, "MASTER_ADDR": "127.0.0.1"})
    torch.set_num_threads(1)
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{name}{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    code = function(*arguments)
    sys.exit(code if isinstance(code, int) else 0)


def _said(path: Path) -> str:
    """Without what gloo itself says of its connections."""
    return "".join(line for line in path.read_text().splitlines(keepends=True) if not line.startswith("[Gloo]"))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def interrupt_after_three_lines(command: list[str], log: Path) -> tuple[int, str, str]:
    """Ctrl-C to a training command once its log has three lines: exit code, stdout, stderr."""
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as run:  # fmt: skip
        try:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and not (log.is_file() and log.read_text().count("\n") >= 3):
                time.sleep(0.05)
            run.send_signal(signal.SIGINT)
            out, err = run.communicate(timeout=60)
        finally:
            run.kill()
    return run.returncode, out, err
