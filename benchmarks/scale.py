"""A corpus of How2Sign's size on 8 and 64 GPUs, on paper: step, epoch, data rate, cost, and what saturates first.

    python -m benchmarks.scale                      # the table of docs/many_gpus.md; a minute, nothing is trained
    python -m benchmarks.scale --price 2 --epochs 300

Operations and memory of a step are traced as ``plan`` does; the share of a GPU's peak, the drawing of noise and the
reading of clips are as ``results/`` measured them on a CPU; the peak is published, bandwidths and price are assumed.
Parts of a step add up: only the exchange of gradients hides behind the backward pass (``benchmarks/scaling.py``).
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks.machine import RESULTS, command_line, write_result
from benchmarks.scaling import BYTES, GIB, LAYOUTS, Layout, exchanged, step_bounds
from config import make_config
from methods.planning.memory import Place, plan_training

CLIPS = 31_048  # front clips of How2Sign's training part (how2sign-data, issue 4)
PEAK = 989.4e12  # operations per second of an H100 SXM in bfloat16, dense (NVIDIA's data sheet)
MEMORY = 72 * GIB  # of its 80 GB: what is left beside CUDA's own context and what libraries allocate
MOST = 8  # clips of a GPU in one forward
USED = [layout for layout in LAYOUTS if layout.bandwidth in (300e9, 3.125e9)]  # 8 and 64 GPUs, fast and slow
SIZES: dict[str, dict[str, object]] = {
    "128 px": {"IMAGE_SIZE": 128},
    "256 px": {"IMAGE_SIZE": 256},
    "256 px, patches of 4 px": {"IMAGE_SIZE": 256, "TINYFUSION_VARIANT": "DiT-D14/4"},
}


@dataclass(frozen=True)
class Model:
    """``flops`` of a training step for one clip, recomputation included; ``values``: numbers of a clip, a byte each
    on disk; ``batch`` clips of a GPU, and the ``peak_bytes`` that they need."""

    name: str
    flops: float
    parameters: int
    values: int
    batch: int
    peak_bytes: float


@dataclass(frozen=True)
class Rates:
    """Per second: operations of a GPU at its ``peak`` and the ``share`` of them that a step reaches, numbers of noise
    that a process draws, bytes of clips that it reads."""

    peak: float
    share: float
    noise: float
    reading: float


def parts_of_step(model: Model, layout: Layout, rates: Rates) -> dict[str, float]:
    """Seconds of each. Every process draws the noise of the whole step and reads its own clips."""
    compute = model.batch * model.flops / (rates.peak * rates.share)
    moved = exchanged("ddp", layout.gpus, BYTES * model.parameters)
    return {
        "compute": compute,
        "exchange": step_bounds(compute, moved / layout.bandwidth)[0] - compute,
        "noise": layout.gpus * model.batch * model.values / rates.noise,
        "reading": model.batch * model.values / rates.reading,
    }


def noise_limit(model: Model, rates: Rates) -> float:
    """GPUs on which the noise of a step takes as long as its arithmetic; the batch does not matter."""
    return model.flops / (rates.peak * rates.share) * rates.noise / model.values


def reckon(model: Model, layout: Layout, rates: Rates, *, clips: int, price: float) -> dict[str, Any]:
    """A row. ``price``: dollars for an hour of one GPU."""
    parts = parts_of_step(model, layout, rates)
    step, clips_a_step = sum(parts.values()), layout.gpus * model.batch
    epoch = math.ceil(clips / clips_a_step) * step
    first = max(("exchange", "noise", "reading"), key=parts.__getitem__)
    return {
        "model": model.name, "gpus": layout.gpus, "link": layout.link, "batch": model.batch, "parts_s": parts,
        "step_s": step, "epoch_s": epoch, "clips_a_second": clips_a_step / step,
        "gigabytes_a_second": clips_a_step * model.values / step / 1e9, "efficiency": parts["compute"] / step,
        "largest_beside_compute": first, "epoch_dollars": epoch / 3600 * layout.gpus * price,
    }  # fmt: skip


def traced(name: str, changed: dict[str, object]) -> Model:
    """The default config so changed, by ``plan``: as many clips as fit, at most ``MOST``."""
    place = Place(torch.device("cuda"), present=False, dtype=torch.bfloat16)
    plans = []
    for batch in (1, 2):
        config = make_config("default", {"DEVICE": "cuda", "BATCH_SIZE": batch, **changed})
        plans.append(plan_training(config, place, text_width=768, num_tokens=config.TEXT_MAX_LENGTH))
    one, two = (plan.peak.num_bytes for plan in plans)
    batch = max(1, min(MOST, int((MEMORY - one) // (two - one)) + 1))
    peak = one + (batch - 1) * (two - one)
    return Model(name, plans[0].num_flops, plans[0].num_trainable, math.prod(config.INPUT_SHAPE), batch, peak)


def measured_rates() -> Rates:
    """Of the committed result files."""

    def result(name: str) -> dict[str, Any]:
        return json.loads((RESULTS / f"{name}.json").read_text())

    clip = math.prod(make_config().INPUT_SHAPE)  # values; all were measured at the default size
    noise = result("scaling")["measured"]["noise_seconds_by_clips_of_a_step"]["64"]
    share = result("efficiency")["rows"]["training step"]["share_executed"]
    return Rates(PEAK, share, 64 * clip / noise, result("data")["mapped_clips_per_second_by_4"] * clip)


def table(rows: list[dict[str, Any]], *, epochs: int) -> str:
    """Rows as Markdown."""
    head = [
        "size",
        "GPUs",
        "link",
        "clips a GPU",
        "step",
        "of it noise",
        "exchange",
        "reading",
        "epoch",
        "data",
        "cost",
    ]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in rows:
        parts = row["parts_s"]
        cells = [
            row["model"], row["gpus"], row["link"], row["batch"], f"{row['step_s']:.2f} s",
            *(f"{parts[name]:.2f} s" for name in ("noise", "exchange", "reading")),
            f"{row['epoch_s'] / 60:,.1f} min", f"{row['gigabytes_a_second']:.2f} GB/s",
            f"{epochs * row['epoch_dollars']:,.0f} $",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    """Trace, reckon, print the table, write ``results/scale.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--price", type=float, default=3.0, help="dollars for an hour of one GPU, assumed (default 3)")
    parser.add_argument("--epochs", type=int, default=100, help="that the cost is of (default 100)")
    args = parser.parse_args()
    rates, models = measured_rates(), [traced(name, changed) for name, changed in SIZES.items()]
    rows = [reckon(model, layout, rates, clips=CLIPS, price=args.price) for model in models for layout in USED]
    for model in models:
        print(
            f"{model.name}: {model.flops / 1e12:,.1f} TFLOP a clip, {model.batch} clips need "
            f"{model.peak_bytes / GIB:.1f} GiB; noise takes as long as arithmetic on {noise_limit(model, rates):,.0f} "
            f"GPUs; all clips: {CLIPS * model.values / 1e9:,.0f} GB"
        )
    print(f"\nshare {rates.share:.2f}, {args.epochs} epochs, {args.price:g} $ an hour\n")
    print(table(rows, epochs=args.epochs))
    limits = {model.name: noise_limit(model, rates) for model in models}
    result = {"clips": CLIPS, "price": args.price, "epochs": args.epochs, "rates": asdict(rates), "noise_limit": limits}
    result |= {"models": [asdict(model) for model in models], "rows": rows}
    print(f"\nwritten: {write_result('scale', command_line('scale'), result)}")


if __name__ == "__main__":
    main()
