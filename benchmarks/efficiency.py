"""How much of the machine the model uses: forward, training step and sampling against measured products and copies.

    python -m benchmarks.efficiency                     # default config; about a quarter of an hour on two CPU cores
    python -m benchmarks.efficiency --preset demo       # a minute
    python -m benchmarks.efficiency --quick             # everything once, no training step
    python -m benchmarks.efficiency --train-profile     # where a training step's time goes, too

The machine's ceilings are measured before, between and after, in the same run; the best round counts, and all rounds
stand in the JSON, so that drift shows. On a machine that drifts, the share of the products just before and after says
more: it stands beside. Operations are counted and not estimated. Of a training step two counts are
given: the model's (forward and backward) and those executed, which include what checkpointing computes again.
Nothing but the model runs: clips, texts and weights are random. ``results/efficiency.json`` is the default preset on
a CPU; other presets and devices add their names.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import torch

from benchmarks.flops import Operations, operations, own_products
from benchmarks.limits import Limits, short
from benchmarks.loop import LoopCost, loop_cost
from benchmarks.machine import command_line, peak_memory_bytes, result_name, write_result
from benchmarks.profiling import profile
from benchmarks.timing import LONG, num_rounds, repeated, summary
from benchmarks.workload import TrainingStep, Workload, preset
from presets import PRESETS
from utils import runtime

TARGETS = {  # row -> the share that is wanted, and where
    "forward": "0.60 on a CPU in bf16",
    "training step": "0.50 on one H100",
    "loop": "0.02 at most",
}
SLOW_FORWARD = 2.0  # seconds, from which a few sampling steps are enough
FEW_STEPS = 2


def measure_forward(work: Workload, counted: Operations, limits: Limits, *, repeats: int) -> dict[str, Any]:
    """Seconds and operations of one forward of the batch without gradients, each time between two rounds of ``limits``.

    ``share_beside`` is of the mean of those two rounds' best products: what disturbs the machine disturbs both.
    """
    dtype = work.model.autocast_dtype or torch.float32
    flops = counted.forward * len(work.video)
    times, beside = [], []
    for _ in range(repeats):
        found = repeated(work.predict, work.device, repeats=1)
        limits.measure()
        times += found
        beside.append(flops / statistics.median(found) / statistics.mean(limits.of_rounds(dtype)[-2:]))
    around = {"share_beside": statistics.median(beside), "share_beside_of_each": beside}
    return {**summary(times), "tflop": flops / 1e12, **around}


def measure_training(work: Workload, counted: Operations, *, steps: int) -> dict[str, Any]:
    """Of whole training steps, after one to warm up where that is short, and of their parts."""
    step = TrainingStep(work)
    first = step()
    parts = [first] if step.total(first) >= LONG else []
    parts += [step() for _ in range(num_rounds(step.total(first), steps) - len(parts))]
    clips = len(work.video)
    return {
        **summary([step.total(seconds) for seconds in parts]),
        "parts_s": {name: statistics.median(seconds[name] for seconds in parts) for name in parts[0]},
        "ema_every": work.config.EMA_EVERY,
        "tflop": counted.training * clips / 1e12,
        "tflop_executed": counted.executed * clips / 1e12,
        "peak_memory_gib": peak_memory_bytes(work.device) / 2**30,
    }


def measure_sampling(
    work: Workload, counted: Operations, *, steps: int, repeats: int, guidance_scale: float
) -> dict[str, Any]:
    """One clip through ``steps`` DDIM steps with guidance: seconds of a step, and what is not the backbone's."""
    costs = [sampling_cost(work, steps=steps, guidance_scale=guidance_scale) for _ in range(repeats)]
    return {
        **summary([cost.total / steps for cost in costs]),
        "steps": steps,
        "guidance_scale": guidance_scale,
        "forwards": costs[0].num_forwards,
        "tflop": counted.forward * costs[0].num_clips / steps / 1e12,
        "beyond_forwards": statistics.median(cost.beyond for cost in costs),
        "beyond_forwards_of_each": [cost.beyond for cost in costs],
    }


def sampling_cost(work: Workload, *, steps: int, guidance_scale: float) -> LoopCost:
    """Of ``Text2Sign.sample`` for one clip."""

    def sample() -> None:
        draws = [runtime.generator(0, "sample")]
        work.model.sample(work.text[:1], draws, num_steps=steps, guidance_scale=guidance_scale)

    return loop_cost(sample, work.model.backbone, wait=lambda: runtime.synchronise(work.device))


def with_shares(row: dict[str, Any], ceiling: float) -> dict[str, Any]:
    """The row with its rates as shares of ``ceiling``, in operations per second."""
    shares = {}
    for name, key in (("share", "tflop"), ("share_executed", "tflop_executed")):
        if key in row:
            shares[name] = row[key] * 1e12 / row["median_s"] / ceiling
            shares[f"best_{name}"] = row[key] * 1e12 / row["best_s"] / ceiling
    return {**row, **shares}


def measure(work: Workload, args: argparse.Namespace) -> dict[str, Any]:
    """Ceilings, then each measurement with the ceilings again behind it, then the profiles."""
    dtype = work.model.autocast_dtype or torch.float32
    counted = operations(work)
    limits = Limits(work.device, own_products(work), tuple(dict.fromkeys([dtype, torch.float32])))
    limits.measure()
    rows = {"forward": measure_forward(work, counted, limits, repeats=args.repeats)}
    rows["sampling step"] = measure_sampling(
        work, counted, **sampling_plan(work, args, rows["forward"]["median_s"]), guidance_scale=args.guidance_scale
    )
    limits.measure()
    if args.steps:
        rows["training step"] = measure_training(work, counted, steps=args.steps)
        limits.measure()
    profiles = {} if args.no_profile else {"forward": profile(work.predict, work.device)}
    if args.train_profile:
        step = TrainingStep(work)
        if rows["forward"]["median_s"] < SLOW_FORWARD:
            step()  # makes the optimiser's moments
        profiles["training step"] = profile(step, work.device)
    for name, found in profiles.items():
        found.print(f"profile of one {name}")
    return {
        "limits": limits.to_dict(),
        "rows": {name: with_shares(row, limits.best(dtype)) for name, row in rows.items()},
        "profiles": {name: found.to_dict() for name, found in profiles.items()},
    }


def sampling_plan(work: Workload, args: argparse.Namespace, forward: float) -> dict[str, int]:
    """The preset's steps, as often as everything else; a few, once, where a forward takes seconds."""
    slow = forward > SLOW_FORWARD
    steps = args.sampling_steps or (FEW_STEPS if slow else work.config.INFERENCE_TIMESTEPS)
    return {"steps": steps, "repeats": 1 if slow else args.repeats}


def describe(work: Workload) -> dict[str, Any]:
    config = work.config
    return {
        "model": config.MODEL_NAME,
        "parameters": sum(p.numel() for p in work.model.parameters()),
        "clips": len(work.video),
        "shape": list(config.INPUT_SHAPE),
        "text_tokens": work.text.mask.shape[1],
        "frame_chunk_size": config.TINYFUSION_FRAME_CHUNK_SIZE,
        "gradient_checkpointing": config.GRADIENT_CHECKPOINTING,
        "device": runtime.hardware(work.device) if work.device.type == "cuda" else work.device.type,
        "dtype": short(work.model.autocast_dtype or torch.float32),
        "threads": torch.get_num_threads(),
    }


def show(result: dict[str, Any]) -> None:
    """The table: every row beside its target."""
    limits = result["limits"]
    for name, rates in limits["tflops_of_rounds"].items():
        rounds = ", ".join(f"{rate:.4g}" for rate in rates)
        print(f"\nproducts, {name}: {limits['tflops'][name]:.4g} TFLOP/s (best of each round: {rounds})")
        for product, rate in sorted(limits["tflops_of_products"][name].items(), key=lambda item: -item[1]):
            print(f"  {product:<36}{rate:>9.4g}")
    print(f"copy: {limits['copy_gb_per_s']:.4g} GB/s read and written")
    print(f"\n{'':<26}{'median':>11}{'best':>11}{'TFLOP':>9}{'TFLOP/s':>10}{'share':>8}{'best':>7}  target")
    for name, row in result["rows"].items():
        target = TARGETS.get(name, "")
        print(row_text(name, row, "tflop", "share", target))
        if row.get("tflop_executed", row["tflop"]) != row["tflop"]:
            print(row_text("  with recomputation", row, "tflop_executed", "share_executed", ""))
        for part, spent in row.get("parts_s", {}).items():
            print(f"  {part:<24}{spent:>9.4g} s")
    forward, sampling = result["rows"]["forward"], result["rows"]["sampling step"]
    each = ", ".join(f"{share:.3f}" for share in forward["share_beside_of_each"])
    print(f"forward against the best products just before and after: {forward['share_beside']:.3f}  (each: {each})")
    print(f"loop beyond its {sampling['forwards']} forwards: {sampling['beyond_forwards']:.4f}  {TARGETS['loop']}")


def row_text(name: str, row: dict[str, Any], key: str, share: str, target: str) -> str:
    rate = row[key] / row["median_s"]
    return (
        f"{name:<26}{row['median_s']:>9.4g} s{row['best_s']:>9.4g} s{row[key]:>9.4g}{rate:>10.4g}"
        f"{row[share]:>8.3f}{row[f'best_{share}']:>7.3f}  {target}"
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="default", choices=PRESETS)
    parser.add_argument("--architecture", default="tinyfusion", help="MODEL_ARCHITECTURE (default tinyfusion)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--precision", default="auto", choices=("auto", "bf16", "no"))
    parser.add_argument("--clips", type=int, help="BATCH_SIZE (default: the preset's)")
    parser.add_argument("--chunk", type=int, help="TINYFUSION_FRAME_CHUNK_SIZE (default: the preset's)")
    parser.add_argument("--repeats", type=int, default=3, help="timed forwards, more where they are short (default 3)")
    parser.add_argument(
        "--steps", type=int, default=1, help="timed training steps, more where they are short (default 1); 0: none"
    )
    parser.add_argument("--sampling-steps", type=int, default=0, help="default: the preset's, or 2 where slow")
    parser.add_argument("--guidance-scale", type=float, default=2.0)
    parser.add_argument("--train-profile", action="store_true", help="profile one training step too")
    parser.add_argument("--no-profile", action="store_true")
    parser.add_argument("--quick", action="store_true", help="everything once, no training step")
    args = parser.parse_args()
    if args.quick:
        args.repeats, args.steps, args.sampling_steps = 1, 0, args.sampling_steps or 1
    return args


def settings(args: argparse.Namespace) -> dict[str, object]:
    """The overrides of the preset that were asked for."""
    given = {"BATCH_SIZE": args.clips, "TINYFUSION_FRAME_CHUNK_SIZE": args.chunk}
    chosen = {name: value for name, value in given.items() if value is not None}
    fixed = {"DEVICE": args.device, "MIXED_PRECISION": args.precision, "MODEL_ARCHITECTURE": args.architecture}
    return {**chosen, **fixed}


def main() -> None:
    """Measure, print the tables, write ``results/efficiency.json``."""
    args = arguments()
    work = preset(args.preset, **settings(args))
    about = describe(work)
    print(", ".join(f"{name} {value}" for name, value in about.items()), flush=True)
    result = measure(work, args)
    show(result)
    name = result_name(
        "efficiency", (args.preset, "default"), (args.architecture, "tinyfusion"), (work.device.type, "cpu")
    )
    path = write_result(name, command_line("efficiency"), {**about, "targets": TARGETS, **result})
    print(f"written: {path}")


if __name__ == "__main__":
    main()
