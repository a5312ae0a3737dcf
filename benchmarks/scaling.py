"""How the cost of a training step grows to 8 GPUs and to 64: reckoned, with what could be measured on a CPU beside it.

    python -m benchmarks.scaling --step-seconds 0.5            # seconds of a step on one GPU
    python -m benchmarks.scaling --result default_step         # or as another result file measured it

Reckoned: bytes that a step exchanges, from the model's own size; seconds, from these bytes and the bandwidths below,
which are assumptions. Measured: one process against two (gloo, one thread each, the same clips in a step), and what
drawing the noise of a whole step costs each process. ``docs/many_gpus.md`` explains the columns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import RESULTS, ROOT, write_result
from config import Config, make_config
from diffusion.text2sign import ARCHITECTURES, create_text2sign, training_noise
from models.text_encoder import TextEncoder
from presets import PACKAGED_ENCODER

BYTES = 4  # of a weight, a gradient, a moment: float32
STATES = 4  # of a parameter: weight, gradient, two moments; the average lives on the host
GIB = 2**30
BACKWARD_SHARE = 0.75  # of a step, where checkpointing recomputes: forward 1, recomputation 1, backward 2
WARM_UP = 3  # steps that are not timed


@dataclass(frozen=True)
class Layout:
    """GPUs, and what the slowest link that a ring over them crosses carries, bytes per second in each direction."""

    gpus: int
    link: str
    bandwidth: float  # an assumption


NVLINK = 300e9
LAYOUTS = (
    Layout(1, "none", float("inf")),
    Layout(8, "one machine, NVLink, 300 GB/s a GPU", NVLINK),
    Layout(8, "one machine, PCIe 4.0, 20 GB/s a GPU", 20e9),
    Layout(64, "eight machines, 3,200 Gbit/s each", min(NVLINK, 400e9)),
    Layout(64, "eight machines, 400 Gbit/s each", 50e9),
    Layout(64, "eight machines, 25 Gbit/s each", 3.125e9),
)


# ---- Reckoned -------------------------------------------------------------------------------------------------------


def exchanged(way: str, gpus: int, size: float) -> float:
    """Bytes that each GPU sends in a step, and receives, in a ring; ``size``: bytes of the weights, or the gradient.

    ``ddp``: one all-reduce of the gradient, 2 (N - 1) / N of it. ``fsdp``: the weights gathered for forward and again
    for backward, the gradient reduced and scattered, (N - 1) / N each.
    """
    return {"ddp": 2, "fsdp": 3}[way] * (gpus - 1) / gpus * size


def state_bytes(way: str, gpus: int, parameters: int, largest_unit: int) -> float:
    """Memory of a GPU for weights, gradients and moments; under FSDP a part of each, and two units gathered."""
    whole = STATES * BYTES * parameters
    return whole if way == "ddp" or gpus == 1 else whole / gpus + 2 * BYTES * largest_unit


def step_bounds(step: float, exchange: float) -> tuple[float, float]:
    """Seconds of a step at best and at worst: the exchange hidden behind the backward pass as far as it fits; not."""
    return step + max(0.0, exchange - BACKWARD_SHARE * step), step + exchange


def reckon(step: float, parameters: int, largest_unit: int) -> list[dict[str, Any]]:
    """A row for each layout and way; ``step``: seconds of one GPU for its own clips."""
    rows = []
    for layout in LAYOUTS:
        for way in ("ddp", "fsdp") if layout.gpus > 1 else ("ddp",):
            moved = exchanged(way, layout.gpus, BYTES * parameters)
            best, worst = step_bounds(step, moved / layout.bandwidth)
            rows.append(
                {
                    "gpus": layout.gpus,
                    "link": layout.link,
                    "way": way if layout.gpus > 1 else "alone",
                    "state_gib_each": round(state_bytes(way, layout.gpus, parameters, largest_unit) / GIB, 2),
                    "gigabytes_each": round(moved / 1e9, 2),
                    "exchange_seconds": round(moved / layout.bandwidth, 4),
                    "efficiency": [round(step / worst, 3), round(step / best, 3)],
                    "times_as_fast": [round(layout.gpus * step / worst, 1), round(layout.gpus * step / best, 1)],
                }
            )
    return rows


def sizes(config: Config) -> tuple[int, int]:
    """Trainable parameters of the config's model, and those of its largest unit under FSDP."""
    model = create_text2sign(config, TextEncoder(PACKAGED_ENCODER, max_length=config.TEXT_MAX_LENGTH))
    units = ARCHITECTURES[config.MODEL_ARCHITECTURE].units(model.backbone)
    count = [[p.numel() for module in unit for p in module.parameters()] for unit in units]
    return sum(p.numel() for p in model.parameters() if p.requires_grad), max(map(sum, count))


# ---- Measured -------------------------------------------------------------------------------------------------------


def noise_seconds(config: Config) -> dict[str, float]:
    """Clips of a step -> seconds that each process takes to draw the noise of all of them, on one thread."""
    torch.set_num_threads(1)
    found = {}
    for num_clips in (1, 8, 64):
        seconds = []
        for step in range(5):
            start = time.perf_counter()
            training_noise(
                config.SEED, step, num_clips=num_clips, shape=config.INPUT_SHAPE,
                num_steps=config.TIMESTEPS, caption_dropout=config.CAPTION_DROPOUT,
            )  # fmt: skip
            seconds.append(time.perf_counter() - start)
        found[str(num_clips)] = round(statistics.median(seconds), 4)
    return found


def run_seconds(
    data: str, *, processes: int, way: str, clips: int, preset: str = "demo", changed: dict[str, object] | None = None
) -> float:
    """Median seconds of a step of the preset with ``clips`` clips, ``clips / processes`` on each process."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "DATA_DIR": data, "DEVICE": "cpu", "DISTRIBUTED": way, "BATCH_SIZE": clips // processes, "NUM_EPOCHS": 8,
            "LOG_EVERY_STEPS": 1, "VALIDATE_EVERY_EPOCHS": 0, "RANK_EVERY_EPOCHS": 0, "SAMPLE_EVERY_EPOCHS": 0,
            "LOG_DETAILS_EVERY_EPOCHS": 0, "SAVE_EVERY_EPOCHS": 1000, "CHECKPOINT_DIR": folder, "LOG_DIR": folder,
            "EXPERIMENT_NAME": "run", **(changed or {}),
        }  # fmt: skip
        start = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        command = [sys.executable, *(start if processes > 1 else []), "main.py", "train", "--preset", preset]
        command += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        lines = (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()
    seconds = [json.loads(line)["05_Performance/seconds_per_step"] for line in lines]
    return statistics.median(seconds[WARM_UP:])


def two_against_one(data: str, clips: int) -> dict[str, Any]:
    """Seconds of the same step on one process and on two, and how many times as fast two are."""
    parameters, _ = sizes(make_config("demo"))
    one = run_seconds(data, processes=1, way="ddp", clips=clips)
    found: dict[str, Any] = {"preset": "demo", "parameters": parameters, "clips": clips, "one": round(one, 4)}
    for way in ("ddp", "fsdp"):
        two = run_seconds(data, processes=2, way=way, clips=clips)
        found[way] = {
            "seconds": round(two, 4),
            "times_as_fast": round(one / two, 2),
            "megabytes_each": round(exchanged(way, 2, BYTES * parameters) / 1e6, 1),
        }
    return found


# ---- The command ----------------------------------------------------------------------------------------------------


def stored_step(name: str) -> float:
    """The median of the steps that ``results/NAME.json`` timed."""
    steps = json.loads((RESULTS / f"{name}.json").read_text())["steps"]
    return statistics.median(step["seconds"] for step in steps)


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as Markdown."""
    lines = ["| GPUs | link | way | states, each | sent, each | exchange | efficiency | times as fast |"]
    lines.append("|" + "---|" * 8)
    for row in rows:
        low, high = (f"{share:.0%}" for share in row["efficiency"])
        slow, fast = row["times_as_fast"]
        lines.append(
            f"| {row['gpus']} | {row['link']} | {row['way']} | {row['state_gib_each']:.2f} GiB | "
            f"{row['gigabytes_each']:.2f} GB | {row['exchange_seconds'] * 1000:,.0f} ms | "
            f"{low if low == high else f'{low}-{high}'} | {slow if slow == fast else f'{slow}-{fast}'} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Reckon, measure, print the table, write ``results/scaling.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--step-seconds", type=float, nargs="+", default=[0.1, 0.5], help="of one GPU, assumed")
    source.add_argument("--result", metavar="NAME", help="take them from benchmarks/results/NAME.json, measured there")
    parser.add_argument("--data", default="training_data/ase", help="clips of the demo preset, for the measured part")
    parser.add_argument("--clips", type=int, default=8, help="of a step of the measured part")
    parser.add_argument("--reckon-only", action="store_true", help="measure nothing, write nothing")
    args = parser.parse_args()
    steps = [stored_step(args.result)] if args.result else args.step_seconds
    parameters, largest_unit = sizes(make_config())
    reckoned = {f"{step:g}": reckon(step, parameters, largest_unit) for step in steps}
    for step, rows in reckoned.items():
        print(f"\n{step} s a step on one GPU, {parameters / 1e6:.1f} M parameters\n\n{table(rows)}")
    if args.reckon_only:
        return
    result = {
        "parameters": parameters,
        "gradient_gigabytes": round(BYTES * parameters / 1e9, 3),
        "largest_unit_parameters": largest_unit,
        "assumed": {
            "bandwidths_bytes_per_second": [asdict(layout) for layout in LAYOUTS[1:]],
            "backward_share_of_a_step": BACKWARD_SHARE,
            "step_seconds": f"measured: results/{args.result}.json" if args.result else steps,
        },
        "reckoned_by_step_seconds": reckoned,
        "measured": {
            "noise_seconds_by_clips_of_a_step": noise_seconds(make_config()),
            "two_processes_against_one": two_against_one(args.data, args.clips),
        },
    }
    command = "python -m benchmarks.scaling " + " ".join(sys.argv[1:])
    path = write_result("scaling", command.strip(), result)
    print(f"\n{json.dumps(result['measured'], indent=2)}\nwritten: {path}")


if __name__ == "__main__":
    main()
