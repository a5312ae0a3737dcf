"""kill -9 at random moments, resume, and compare with a run that nobody touched, byte for byte.

    python -m benchmarks.kill_resume --kills 20        # minutes; most of them is Python starting

An uninterrupted run keeps the SHA-256 of weights, averaged weights and optimiser state after each of its epochs. Then
``python main.py train`` is started, killed and resumed until it finishes, and started anew, until there were enough
kills. A kill counts as survived if the checkpoint that it left is whole and is the untouched run's state of that epoch,
and if the run that it hit ended in the untouched run's last state.

Where a kill hit is asked of the process itself at that moment (``faulthandler`` writes its stack from the signal
handler, without Python's help) and of the disk afterwards (a half-written file). One third of the kills comes anywhere
in a process's life, one third after its first step, and one third up to 30 ms after a file began to be written, so that
writing, which is short, is covered too. Nothing is slowed down for it.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import write_result
from config import Config, make_config
from utils.checkpoints import file as checkpoint
from utils.checkpoints.file import latest_path
from utils.writing import write_clip

ROOT = Path(__file__).parent.parent
STATE = ("epoch", "batch", "step", "skipped_steps", "model", "ema", "optimizer", "scaler")
SETTINGS = {
    "DETERMINISTIC": True, "DEVICE": "cpu", "NUM_EPOCHS": 60, "BATCH_SIZE": 1, "GRADIENT_ACCUMULATION_STEPS": 2,
    "EMA_EVERY": 2, "SAVE_EVERY_EPOCHS": 1, "SAMPLE_EVERY_EPOCHS": 0, "LR_DECAY": "cosine",
}  # fmt: skip
STEPS_PER_EPOCH = 4  # 8 clips, 2 a step
LAUNCH = (
    "import faulthandler, signal, sys; "
    "faulthandler.register(signal.SIGUSR1, file=open(sys.argv.pop(1), 'w'), all_threads=False); "
    "from main import main; sys.exit(main())"
)
BOTTOM = 'File "<string>", line 1 in <module>'  # of a stack that is written whole
AIMS = ("anywhere", "training", "writing")
PHASES = {  # what is on the stack -> the phase; the first that fits
    "writing a checkpoint": ("in _replacing", "in save", "in link"),
    "between checkpoints' names": ("in keep",),
    "in the optimiser step": ("in _update",),
    "forward or backward": ("in train_step",),
    "logging": ("in after_step", "in after_epoch", "in settings"),
    "building or restoring": ("trainer.py", "in _read", "in read_state"),
}


def digest(content: dict[str, Any]) -> str:
    """SHA-256 of what training goes on from: names, types, shapes and bytes of the fields in ``STATE``."""
    found = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            found.update(f"{value.dtype}{tuple(value.shape)}".encode())
            found.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy())
        elif isinstance(value, (dict, list, tuple)):
            found.update(f"{type(value) in (list, tuple)}{len(value)}".encode())
            for key, part in value.items() if isinstance(value, dict) else enumerate(value):
                found.update(f"{key}:".encode())
                add(part)
        else:
            found.update(f"{value!r};".encode())

    for field in STATE:
        add(content[field])
    return found.hexdigest()


def what_is_left(config: Config, reference: dict[int, str]) -> str:
    """The state on disk after a kill, in words; begins with ``WRONG`` if it is not the untouched run's."""
    latest = latest_path(config)
    if not latest.exists():
        return "nothing saved yet"
    try:
        content = checkpoint.load(latest)
    except checkpoint.CheckpointError as error:
        return f"WRONG: {error}"
    same = digest(content) == reference[content["epoch"]]
    return f"epoch {content['epoch']}" if same else f"WRONG: epoch {content['epoch']} is another state"


def partials(config: Config) -> list[Path]:
    return list(latest_path(config).parent.glob(".*.partial"))


def write_clips(folder: Path) -> Path:
    """Eight clips of random blocks with a caption each, the smallest that there is to train on."""
    draw = np.random.default_rng(0)
    for number in range(8):
        blocks = draw.integers(0, 256, (4, 4, 4, 3), dtype=np.uint8)
        write_clip(folder / f"clip{number}.gif", blocks.repeat(4, 1).repeat(4, 2), fps=8)
        (folder / f"clip{number}.txt").write_text(f"sign number {number}\n")
    return folder


class Life:
    """One training process, from its start to its end or its death."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.config, self.trace = config, folder / "stack.txt"
        self.log = Path(config.LOG_DIR) / config.EXPERIMENT_NAME / "metrics.jsonl"
        self.logged_before = self._logged()
        self.half_written_before = set(partials(config))
        self.said = folder / "said.txt"
        changed = {key: value for key, value in config.to_dict().items() if value != getattr(make_config("debug"), key)}
        settings = [part for key, value in changed.items() for part in ("--set", f"{key}={value}")]
        resume = ["--resume"] if latest_path(config).exists() else []
        with open(self.said, "w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-c", LAUNCH, str(self.trace), "train", "--preset", "debug", *settings, *resume],
                cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=said, stderr=said,
            )  # fmt: skip

    def _logged(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def until(self, happened: Callable[[], object]) -> bool:
        """Wait, in steps of half a millisecond; False if the process ended first."""
        while self.process.poll() is None:
            if happened():
                return True
            time.sleep(0.0005)
        return False

    def training(self) -> bool:
        return self._logged() > self.logged_before

    def last_step(self) -> int:
        """The last that was logged; 0 for none."""
        lines = self.log.read_text().splitlines(keepends=True) if self.log.exists() else []
        whole = [line for line in lines if line.startswith("{") and line.endswith("}\n")]
        return json.loads(whole[-1])["step"] if whole else 0

    def end(self) -> bool:
        """Wait for the end; True after a kill, False after a finished run."""
        code = self.process.wait()
        if code not in (0, -signal.SIGKILL, -signal.SIGUSR1):  # the last: asked before it could answer
            raise RuntimeError(f"training ended with code {code}:\n{self.said.read_text()}")
        return code != 0

    def kill(self) -> dict[str, Any] | None:
        """SIGKILL; what it hit, or None if the process had ended by itself."""
        if self.process.poll() is None and self.trace.exists():
            self.process.send_signal(signal.SIGUSR1)
            patience = time.monotonic() + 0.2
            self.until(lambda: BOTTOM in self.trace.read_text() or time.monotonic() > patience)
        self.process.kill()
        if not self.end():
            return None
        half = len(set(partials(self.config)) - self.half_written_before)
        phase = phase_of(self.trace.read_text() if self.trace.exists() else "")
        return {"phase": phase, "half_written_files": half, "last_logged_step": self.last_step()}


def phase_of(stack: str) -> str:
    """The phase that a stack of ``faulthandler`` shows."""
    for phase, marks in PHASES.items():
        if any(mark in stack for mark in marks):
            return phase
    return "starting Python"


def aim(life: Life, how: str, draw: random.Random, start_seconds: float) -> None:
    """Wait for the moment to kill; the process may end before."""
    if how == "anywhere":
        end = time.monotonic() + draw.uniform(0.0, start_seconds + 2.0)
    else:
        life.until(life.training)
        end = time.monotonic() + draw.uniform(0.0, 2.0)
    life.until(lambda: time.monotonic() > end)
    if how == "writing":
        life.until(lambda: set(partials(life.config)) - life.half_written_before)
        end = time.monotonic() + draw.uniform(0.0, 0.03)
        life.until(lambda: time.monotonic() > end)


def untouched(config: Config, folder: Path) -> tuple[dict[int, str], float]:
    """Epoch -> digest of a run without a kill, and the seconds until its first step."""
    started = time.monotonic()
    life = Life(config, folder)
    life.until(life.training)
    start_seconds = time.monotonic() - started
    life.end()
    paths = latest_path(config).parent.glob("checkpoint_epoch_*.pt")
    contents = map(checkpoint.load, sorted(paths))
    return {content["epoch"]: digest(content) for content in contents}, start_seconds


def kills(folder: Path, clips: Path, *, num_kills: int, seed: int) -> Iterator[dict[str, Any]]:
    """One record a kill; ``survived`` of a run's kills is settled when it has finished."""
    places = {key: str(folder / key.lower()) for key in ("CHECKPOINT_DIR", "LOG_DIR", "SAMPLE_DIR")}
    common = {**SETTINGS, **places, "DATA_DIR": str(clips)}
    whole = make_config("debug", {**common, "EXPERIMENT_NAME": "untouched", "KEEP_CHECKPOINTS": 0})
    reference, start_seconds = untouched(whole, folder)
    draw, done, run = random.Random(seed), 0, 0
    while done < num_kills:
        run += 1
        config = make_config("debug", {**common, "EXPERIMENT_NAME": f"killed {run}"})
        records: list[dict[str, Any]] = []
        finished = False
        while not finished:
            (folder / "stack.txt").unlink(missing_ok=True)
            life = Life(config, folder)
            how = AIMS[done % len(AIMS)]
            if done < num_kills:
                aim(life, how, draw, start_seconds)
            else:
                life.end()
            hit = life.kill()
            finished = hit is None
            if hit is not None:
                records.append({"run": run, "aim": how, **hit, "left": what_is_left(config, reference)})
                done += 1
        end = what_is_left(config, reference)
        same = end == f"epoch {config.NUM_EPOCHS}" and not partials(config)
        for record in records:
            yield {**record, "survived": same and not record["left"].startswith("WRONG")}
        shutil.rmtree(latest_path(config).parent)


def main() -> None:
    """Run them, print each and the count, write ``results/kill_resume.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="decides the moments, as far as a clock can be decided")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = write_clips(folder / "clips")
        records = []
        for record in kills(folder, clips, num_kills=args.kills, seed=args.seed):
            records.append(record)
            print(len(records), record, flush=True)
    mid_epoch = sum(record["last_logged_step"] % STEPS_PER_EPOCH != 0 for record in records)
    phases = collections.Counter(record["phase"] for record in records)
    survived = sum(record["survived"] for record in records)
    result = {
        "kills": len(records),
        "survived": survived,
        "runs": records[-1]["run"],
        "phases": dict(phases.most_common()),
        "mid_epoch": mid_epoch,
        "left_a_half_written_file": sum(bool(record["half_written_files"]) for record in records),
        "settings": SETTINGS,
        "records": records,
    }
    path = write_result("kill_resume", f"python -m benchmarks.kill_resume --kills {args.kills}", result)
    for phase, count in phases.most_common():
        print(f"{count:>4} {phase}")
    print(f"{mid_epoch:>4} between the steps of an epoch")
    print(f"{result['left_a_half_written_file']:>4} left a half-written file\nwritten: {path}")
    print(f"{survived} of {len(records)}")
    sys.exit(survived != len(records))


if __name__ == "__main__":
    main()
