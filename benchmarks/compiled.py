"""``torch.compile`` of every block against eager blocks: forward and training step, in turn in one run.

    python -m benchmarks.compiled                        # the demo preset; minutes on two CPU cores, mostly compiling
    python -m benchmarks.compiled --preset default       # about half an hour there

Blocks are what the backbone's lists of modules hold; the rest stays eager. The first call of each kind compiles: its
seconds beyond a later call's are the price. The optimiser, the same for both, is left out. Ratios are eager seconds
over compiled ones, the median of the rounds: above 1 compiling pays.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from benchmarks.limits import short
from benchmarks.machine import command_line, result_name, write_result
from benchmarks.timing import alternate, seconds, summary, times_as_fast
from benchmarks.workload import Workload, preset
from presets import PRESETS
from utils import runtime

KINDS = {"forward": "predict", "training": "train"}  # of a Workload


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Members of lists of modules that have weights, the innermost of nested lists."""
    for child in module.children():
        if isinstance(module, nn.ModuleList) and not isinstance(child, nn.ModuleList):
            yield from [child] if any(True for _ in child.parameters()) else []
        else:
            yield from blocks(child)


def compiled_copy(work: Workload, mode: str, backend: str) -> Workload:
    """The same weights, every block compiled at its first call."""
    twin = replace(work, model=copy.deepcopy(work.model))
    for block in blocks(twin.model.backbone):
        block.compile(mode=mode, backend=backend)
    return twin


def measure(work: Workload, args: argparse.Namespace) -> dict[str, Any]:
    """Both kinds: the price, the seconds, the ratio; and how far the outputs are apart."""
    twin = compiled_copy(work, args.mode, args.backend)
    rows: dict[str, Any] = {}
    for kind in args.kinds:
        eager, fast = (getattr(one, KINDS[kind]) for one in (work, twin))
        first = seconds(fast, work.device)
        print(f"{kind}: the first call took {first:.0f} s", flush=True)
        times = alternate({"eager": eager, "compiled": fast}, work.device, repeats=args.repeats)
        rows[kind] = {
            **{name: summary(found) for name, found in times.items()},
            "compile_s": first - summary(times["compiled"])["median_s"],
            "times_as_fast": times_as_fast(times["compiled"], times["eager"]),
        }
        if kind == "forward":
            ours = work.predict()
            rows[kind]["largest_difference_in_deviations"] = float((ours - twin.predict()).abs().max() / ours.std())
    return rows


def main() -> None:
    """Measure, print the table, write ``results/compiled.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="demo", choices=PRESETS)
    parser.add_argument("--architecture", default="tinyfusion", help="MODEL_ARCHITECTURE (default tinyfusion)")
    parser.add_argument("--mode", default="default", help="of torch.compile (default: default)")
    parser.add_argument("--backend", default="inductor", help="of torch.compile (default: inductor)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--precision", default="auto", choices=("auto", "bf16", "no"))
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default 3)")
    args = parser.parse_args()
    settings = {"DEVICE": args.device, "MIXED_PRECISION": args.precision, "MODEL_ARCHITECTURE": args.architecture}
    work = preset(args.preset, **settings)
    print(f"{args.preset}: {work.config.MODEL_NAME}, {runtime.describe(work.device, work.model.autocast_dtype)}")
    rows = measure(work, args)
    print(f"{'':<10}{'eager':>12}{'compiled':>12}{'times as fast':>15}{'compiling':>12}")
    for kind, row in rows.items():
        cells = f"{row['eager']['median_s']:>10.4g} s{row['compiled']['median_s']:>10.4g} s"
        print(f"{kind:<10}{cells}{row['times_as_fast']:>15.2f}{row['compile_s']:>10.1f} s")
    facts = {
        "model": work.config.MODEL_NAME,
        "device": work.device.type,
        "dtype": short(work.model.autocast_dtype or torch.float32),
        "threads": torch.get_num_threads(),
        "blocks": len(list(blocks(work.model.backbone))),
    }
    name = result_name("compiled", (args.preset, "demo"), (args.architecture, "tinyfusion"), (work.device.type, "cpu"))
    print(f"written: {write_result(name, command_line('compiled'), {**facts, 'rows': rows})}")


if __name__ == "__main__":
    main()
