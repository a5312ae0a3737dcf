"""The memory that ``plan`` promises against the memory of real training steps, each config in a fresh process.

    python main.py prepare-data --languages ase
    python -m benchmarks.plan                       # all configs that should fit
    python -m benchmarks.plan --cases debug demo    # some

On a GPU the measured peak is ``torch.cuda.max_memory_allocated``. On a CPU it is the sum of what torch's allocator
gave and took, by torch's own profiler; and, in a second process without the profiler, how far the resident set grew.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.machine import ROOT, command_line, peak_memory_bytes, write_result
from config import Config, make_config
from methods.planning.memory import place_of, plan_training
from methods.trainer import Trainer
from presets import PACKAGED_ENCODER
from utils import runtime

ARCHITECTURES = ("tinyfusion", "vivit", "vit3d", "dit3d", "unet3d")
NUM_STEPS = 2  # from the second on, the moments are there from the beginning
MIB = 2**20
CASES: dict[str, tuple[str, dict[str, object]]] = {  # name -> (preset, what is changed of it)
    "debug": ("debug", {}),
    **{f"demo {name}": ("demo", {"MODEL_ARCHITECTURE": name}) for name in ARCHITECTURES},
    **{
        f"demo {name}, checkpointing": ("demo", {"MODEL_ARCHITECTURE": name, "GRADIENT_CHECKPOINTING": True})
        for name in ARCHITECTURES
    },
    "demo, batch 1": ("demo", {"BATCH_SIZE": 1}),
    "demo, 2 x 2 accumulated": ("demo", {"BATCH_SIZE": 2, "GRADIENT_ACCUMULATION_STEPS": 2}),
    "letters, batch 4": ("letters", {"BATCH_SIZE": 4, "SPLIT_FILE": ""}),
    "small": ("small", {}),
    "default, 4 frames": ("default", {"NUM_FRAMES": 4}),
    "default": ("default", {}),
}
QUIET = {"VALIDATION_FRACTION": 0.0, "TEXT_ENCODER": PACKAGED_ENCODER, "TINYFUSION_INIT": "scratch"}
GIVE_BACK = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}  # bytes; so that freed memory is free


def main() -> None:
    """Measure the cases, print them, write ``results/plan.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="training_data/ase")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES, metavar="NAME")
    parser.add_argument("--precision", default="auto", choices=("auto", "bf16", "no"))
    parser.add_argument("--measure", choices=("allocated", "resident"), help=argparse.SUPPRESS)  # in a fresh process
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(config_of(args.cases[0], args), args.measure)))
        return
    rows = [row for row in (compare(name, args) for name in args.cases) if row]
    worst = max(abs(row["error"]) for row in rows)
    result = {"device": str(runtime.resolve_device("auto")), "worst_error": worst, "cases": rows}
    path = write_result("plan", command_line("plan"), result)
    print(f"worst: {worst:.1%}\nwritten: {path}")


def config_of(case: str, args: argparse.Namespace) -> Config:
    """The settings of a case, on real clips."""
    preset, changes = CASES[case]
    return make_config(preset, {**QUIET, "DATA_DIR": args.data, "MIXED_PRECISION": args.precision, **changes})


def compare(name: str, args: argparse.Namespace) -> dict[str, object] | None:
    """Plan and measure one case; None if it should not fit."""
    config = config_of(name, args)
    place = place_of(config)
    planned = plan_training(config, place, text_width=384, num_tokens=config.TEXT_MAX_LENGTH).peak.num_bytes
    if planned > 0.8 * runtime.memory_bytes(place.device):
        print(f"{name}: left out, {planned / MIB:,.0f} MiB do not fit")
        return None
    measured = in_fresh_process(name, "allocated", args)
    sizes = {"text_width": measured["text_width"], "num_tokens": measured["num_tokens"]}
    planned = plan_training(config, place, **sizes).peak.num_bytes
    row = {
        "case": name,
        "planned_mib": round(planned / MIB, 1),
        "measured_mib": round(measured["bytes"] / MIB, 1),
        "error": round(planned / measured["bytes"] - 1, 4),
    }
    if place.device.type == "cpu":
        grown = in_fresh_process(name, "resident", args)
        row["resident_growth_mib"] = round(grown["bytes"] / MIB, 1)
        row["planned_with_encoder_mib"] = round((planned + grown["encoder_bytes"] + grown["clip_bytes"]) / MIB, 1)
    print(row, flush=True)
    return row


def in_fresh_process(case: str, what: str, args: argparse.Namespace) -> dict[str, int]:
    """What ``measure`` returns there."""
    command = [sys.executable, "-m", "benchmarks.plan", "--cases", case, "--measure", what, "--data", args.data]
    done = subprocess.run(
        [*command, "--precision", args.precision], cwd=ROOT, env={**os.environ, **GIVE_BACK}, check=True,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def measure(config: Config, what: str) -> dict[str, int]:
    """The peak of real steps in bytes, and the sizes that the plan needs to know of the text."""
    before = current_resident()
    trainer = Trainer(config)
    captions = sorted({trainer.data.texts[i] for i in trainer.training})
    num_tokens = max(text.mask.shape[1] for text in trainer.encoder.batches(captions))

    def steps() -> None:
        for _ in range(NUM_STEPS):
            trainer.train_step()
            trainer.step += 1

    if trainer.device.type == "cuda":
        steps()
        peak = peak_memory_bytes(trainer.device)
    elif what == "allocated":
        peak = kept_by(trainer) + peak_of_allocations(steps)
    else:
        steps()
        peak = peak_memory_bytes(trainer.device) - before
    return {
        "bytes": peak,
        "text_width": trainer.encoder.width,
        "num_tokens": num_tokens,
        "encoder_bytes": sum(p.nbytes for p in trainer.encoder.model.parameters()),
        "clip_bytes": sum(trainer.data.frames(i).nbytes for i in range(len(trainer.data))),
    }


def kept_by(trainer: Trainer) -> int:
    """Bytes of the tensors that are there before the first step: weights, buffers, averages."""
    tensors = [*trainer.model.parameters(), *trainer.model.buffers(), *trainer.ema.average.values()]
    return sum(tensor.nbytes for tensor in tensors)


def peak_of_allocations(function: Callable[[], object]) -> int:
    """Bytes that torch's allocator on the CPU gave during ``function`` and had not got back, at most."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        function()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        found.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    changes = [event for event in events if event.get("name") == "[memory]" and event["args"]["Device Type"] == 0]
    now = peak = 0
    for event in sorted(changes, key=lambda event: event["ts"]):
        now += event["args"]["Bytes"]
        peak = max(peak, now)
    return peak


def current_resident() -> int:
    """Bytes of this process in memory now."""
    return round(runtime.memory_gib(torch.device("cpu"))["host"] * 2**30)


if __name__ == "__main__":
    main()
