"""Everything that is to be known of a GPU, in one command, the most wanted first, while time lasts.

    python -m benchmarks.gpu --budget 540                      # on whatever GPU is here; results/gpu.json
    python -m benchmarks.gpu --budget 540 --output FOLDER      # FOLDER/gpu.json
    python -m benchmarks.gpu --rehearse                        # every row at debug size on the CPU: minutes, no figures
    python -m benchmarks.gpu --rows numerics "default step"    # some, in the order of ``ROWS``

The JSON is written after every row, so that a kill loses one row. A row that fails is told with its error, and the next
one goes on; a row for which no time is left is told too. No clips are needed: letters are drawn, and films of signers
are taken from ``--camera`` where there are any. What rows measure is in ``benchmarks/gpu_rows.py`` and below.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks import gpu_rows as rows
from benchmarks import gpu_training as training
from benchmarks.gpu_rows import Absent, Bench
from benchmarks.machine import RESULTS, ROOT, command_line, write_result
from config import UserError
from utils import runtime

TRACE_LINES = 12  # of a failed row, its last
CAMERA = ROOT.parent / "shared" / "real" / "isl"
REHEARSED = ROOT / "generated_samples" / "gpu_rehearsal"  # no figures, so no results


class Row(NamedTuple):
    """What measures it, and seconds on a GPU below which it is not worth beginning."""

    measure: Callable[[Bench], dict[str, Any]]
    at_least: float


ROWS = {
    "numerics": Row(rows.numerics, 10),
    "default step": Row(rows.default_step, 15),
    "memory": Row(rows.memory, 10),
    "plain design": Row(rows.plain_design, 15),
    "latte": Row(rows.latte, 15),
    "compiled": Row(rows.compiled, 60),
    "sampling": Row(rows.sampling, 10),
    "first clip": Row(training.first_clip, 30),
    "latents": Row(rows.latents, 15),
    "one process": Row(rows.one_process, 15),
    "many processes": Row(training.many_processes, 40),
    "letters": Row(training.letters, 40),
    "letters measured": Row(training.letters_measured, 15),
    "camera": Row(training.camera, 40),
    "camera measured": Row(training.camera_measured, 15),
}


def guarded(row: Row, bench: Bench) -> dict[str, Any]:
    """What the row measures, or why there is nothing.

    ``Exception`` is caught here, against the house's rule: a GPU may be lent once, for minutes, and what breaks on it
    is not known before. Nothing is hidden: the error is part of the result, and the command ends with code 1.
    """
    if bench.left < (0 if bench.rehearse else row.at_least):
        return {"skipped": f"{max(bench.left, 0):.0f} s of the budget are left; wanted {row.at_least:.0f}"}
    try:
        return row.measure(bench)
    except Absent as reason:
        return {"absent": str(reason)}
    except Exception as error:
        return {
            "error": f"{type(error).__name__}: {error}",
            "trace": traceback.format_exc().splitlines()[-TRACE_LINES:],
        }


def run(bench: Bench, names: list[str], write: Callable[[dict[str, Any]], object]) -> dict[str, dict[str, Any]]:
    """Every row's result with the seconds that it took; ``write`` hears of all after each."""
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        print(f"\n== {name} ({bench.left:.0f} s left)", flush=True)
        start = time.monotonic()
        found[name] = guarded(ROWS[name], bench)
        found[name]["row_seconds"] = round(time.monotonic() - start, 1)
        print(told(found[name]), flush=True)
        write({"rows": found})
        gc.collect()  # models of the row
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    return found


def told(result: dict[str, Any], indent: str = "  ") -> str:
    """The result's figures, one a line; what is longer stands in the JSON alone."""
    lines = []
    for name, value in result.items():
        if isinstance(value, dict) and len(indent) < 6:
            inner = told(value, indent + "  ")
            lines += [f"{indent}{name}:", inner] if inner else []
        elif isinstance(value, (str, int, float)):
            lines.append(f"{indent}{name}: {f'{value:.4g}' if isinstance(value, float) else value}")
    return "\n".join(lines)


def arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=540, help="seconds (default 540)")
    parser.add_argument("--rows", nargs="+", choices=ROWS, metavar="NAME", default=list(ROWS), help=", ".join(ROWS))
    parser.add_argument("--rehearse", action="store_true", help="at debug size on the CPU")
    parser.add_argument("--train-seconds", type=float, default=180, help="of each training, at most (default 180)")
    parser.add_argument("--repeats", type=int, default=3, help="of what is timed (default 3)")
    parser.add_argument(
        "--camera", type=Path, metavar="FOLDER", help=f"films of signers (default {CAMERA}; rehearsed with letters)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the two trainings")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="of gpu.json (default benchmarks/results)")
    args = parser.parse_args(given)
    if not (args.rehearse or torch.cuda.is_available()):
        parser.error("there is no GPU here. Add --rehearse to run every row at debug size on the CPU.")
    return args


def main(given: list[str] | None = None) -> int:
    """1 if a row failed."""
    args = arguments(given)
    start = time.monotonic()
    device = torch.device("cpu" if args.rehearse else "cuda")
    folder = args.output or (REHEARSED if args.rehearse else RESULTS)
    facts = {
        "device": runtime.hardware(device),
        "gpus": torch.cuda.device_count(),
        "memory_gib": runtime.memory_bytes(device) / 2**30,
        "rehearsal": args.rehearse,
        "budget_s": args.budget,
    }
    print(", ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(
            device=device, rehearse=args.rehearse, folder=Path(scratch), deadline=start + args.budget,
            repeats=args.repeats, train_seconds=args.train_seconds, changed=tuple(args.set),
            camera=args.camera or (None if args.rehearse else CAMERA),
        )  # fmt: skip
        names = [name for name in ROWS if name in args.rows]
        found = run(
            bench, names, lambda result: write_result("gpu", command_line("gpu"), facts | result, folder=folder)
        )
    failed = [name for name, row in found.items() if "error" in row]
    print(f"\nwritten: {folder / 'gpu.json'}; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"error: {error}")
