"""From typing ``train --preset demo`` to the first training step, and where the time goes.

    python main.py prepare-data --preset demo --languages ase
    python -m benchmarks.startup                                                      # on a quiet machine
    python -m benchmarks.startup --checkpoint checkpoints/demo/latest_checkpoint.pt   # and to the first sampled clip

Every start is a fresh process with fresh folders: cold without CACHE_DIR's files, warm with those of the cold one.
The clock begins before the process does. Where other programs share the cores, read the processor's seconds.
``second step begins`` counts what is put off until after the first step. Imports are told apart by their own time in a
run with ``-X importtime``, which itself slows them.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, command_line, write_result
from benchmarks.startup_child import FIRST_STEP_ENDS

IMPORT_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")  # its own microseconds, and its name
APART = ("torch._dynamo", "torch._inductor", "torch.utils.tensorboard")  # of torch
SHOWN = 0.02  # seconds; smaller imports are told together
PROMPT = "letter A in American Sign Language"


def start(folder: Path, data: str, options: tuple[str, ...] = ()) -> tuple[dict[str, Any], str]:
    """One start with everything it writes below ``folder``: its marks and parts, and what it said on stderr."""
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        places = {key: fresh for key in ("CHECKPOINT_DIR", "LOG_DIR", "SAMPLE_DIR")} | {"CACHE_DIR": folder / "cache"}
        settings = [f"{key}={value}" for key, value in {"DATA_DIR": data, **places}.items()]
        flags = [part for item in settings for part in ("--set", item)]
        marks, child = Path(fresh) / "marks.json", (sys.executable, *options, "-m", "benchmarks.startup_child")
        command = [*child, marks, f"{time.time():.6f}", "train", "--preset", "demo", *flags]
        done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        return json.loads(marks.read_text()), done.stderr


def imports(stderr: str) -> dict[str, float]:
    """Seconds of importing before the first step ends, by package, from what ``-X importtime`` says."""
    spent: dict[str, float] = defaultdict(float)
    for own, module in IMPORT_LINE.findall(stderr.partition(f"\n{FIRST_STEP_ENDS}\n")[0]):
        package = next((name for name in APART if f"{module}.".startswith(f"{name}.")), module.partition(".")[0])
        spent[package] += int(own) / 1e6
    large = {package: round(own, 3) for package, own in spent.items() if own >= SHOWN}
    rest = round(sum(spent.values()) - sum(large.values()), 3)
    return {**dict(sorted(large.items(), key=lambda item: -item[1])), "others": rest}


def middle(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Marks and parts of several starts, each the median of its kind."""
    return {
        kind: {
            name: {clock: round(statistics.median(run[kind][name][clock] for run in runs), 3) for clock in found}
            for name, found in runs[0][kind].items()
        }
        for kind in ("marks", "parts")
    }


def sample(checkpoint: Path, folder: Path) -> dict[str, float]:
    """Seconds of a whole ``sample`` of one clip, on the wall and of the processor."""
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        command = f"main.py sample --checkpoint {shlex.quote(str(checkpoint.resolve()))} --text '{PROMPT}'"
        places = ["--output", fresh, "--set", f"CACHE_DIR={folder / 'sample_cache'}"]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, *shlex.split(command), *places], cwd=ROOT, check=True, capture_output=True)
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": round(wall, 3), "processor": round(processor, 3)}


def show(title: str, table: dict[str, dict[str, float]]) -> None:
    print(f"\n{title:<28}{'wall':>10}{'processor':>12}")
    for name, seconds in table.items():
        print(f"{name:<28}{seconds['wall']:>8.2f} s{seconds['processor']:>10.2f} s")


def main() -> None:
    """Start cold and warm, print where the time goes, write ``results/startup.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="training_data/ase")
    parser.add_argument("--repeats", type=int, default=5, help="of the warm start; the median is told")
    parser.add_argument("--checkpoint", type=Path, help="of the demo's size, to sample one clip from")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        result: dict[str, Any] = {"cold": start(folder, args.data)[0]}
        warm = [start(folder, args.data)[0] for _ in range(args.repeats)]
        result["warm"] = {**middle(warm), "first_step_ends": [run["marks"][FIRST_STEP_ENDS]["wall"] for run in warm]}
        result["imports"] = imports(start(folder, args.data, ("-X", "importtime"))[1])
        if args.checkpoint:
            result["sample"] = {kind: sample(args.checkpoint, folder) for kind in ("cold", "warm")}
    for kind in ("cold", "warm"):
        show(f"{kind}: from the start to", result[kind]["marks"])
        show(f"{kind}: in it", result[kind]["parts"])
    print("\nimports, by package:", ", ".join(f"{name} {seconds:.2f} s" for name, seconds in result["imports"].items()))
    if args.checkpoint:
        show("sample of one clip", result["sample"])
    path = write_result("startup", command_line("startup"), result)
    print(f"written: {path}")


if __name__ == "__main__":
    main()
