"""How few forwards will do: samplers, steps and guidance's interval on a trained model, by measures of motion.

    python -m benchmarks.few_steps --checkpoint checkpoints/demo/latest_checkpoint.pt
    python -m benchmarks.few_steps --checkpoint checkpoints/letters/latest_checkpoint.pt --clips 208 --judge_steps 500

The same prompts and noises throughout. Each row is held against the first, 25 steps of ``ddim`` with guidance
everywhere: its moving PSNR against real clips less the first's, and how many times as fast it is, in processor seconds
on a CPU, since others may share it. With ``--judge_steps`` a recogniser, trained once on the real clips that the model
was trained on, names the signs too; its ceiling is on the clips that were held out.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from benchmarks.machine import command_line, write_result
from dataset import load_dataset, parts_of
from methods.evaluation.judge import train_judge
from methods.evaluation.motion import measure_motion
from methods.evaluation.part import rows_to_judge
from methods.sampling.generate import GeneratedClip, generate
from methods.sampling.loading import LoadedModel, load_model
from methods.sampling.provenance import Request
from utils import runtime

MEASURES = ("moving_psnr", "explained", "explained_worst", "amplitude_ratio")  # of motion
EVERYWHERE = (0.0, 1.0)


class Way(NamedTuple):
    """Sampler, its steps, and the interval in which guidance acts."""

    sampler: str
    num_steps: int
    interval: tuple[float, float] = EVERYWHERE

    @property
    def settings(self) -> dict[str, object]:
        low, high = self.interval
        own = {"SAMPLER": self.sampler, "INFERENCE_TIMESTEPS": self.num_steps, "ETA": 0.0}
        return {**own, "GUIDANCE_LOW": low, "GUIDANCE_HIGH": high}


FIRST = Way("ddim", 25)
STEPS = [FIRST, Way("ddim", 50), *(Way("ddim", num) for num in (10, 8, 5))]
STEPS += [Way("dpm++", num) for num in (25, 10, 8, 6, 5)]
INTERVALS = [
    Way(sampler, num, interval)
    for sampler, num in (("ddim", 25), ("dpm++", 8))
    for interval in ((0.0, 0.5), (0.25, 0.75), (0.5, 1.0), (0.0, 0.0))
]


def make(loaded: LoadedModel, way: Way, requests: list[Request]) -> tuple[list[GeneratedClip], float]:
    """The clips, and the seconds that they took: of the processor on a CPU."""
    clock = time.process_time if loaded.model.clip_mean.device.type == "cpu" else time.perf_counter
    other, low_high = loaded.with_settings(**way.settings), "-".join(map(str, way.interval))
    with tqdm(
        total=len(requests) * way.num_steps, desc=f"{way.sampler} {way.num_steps} {low_high}", leave=False
    ) as bar:
        start = clock()
        clips = generate(other, requests, on_step=bar.update)
        runtime.synchronise(loaded.model.clip_mean.device)
        return clips, clock() - start


def show(row: dict[str, Any]) -> None:
    """One line of the table."""
    right = f"{row['recogniser']['accuracy']:.3f}" if row["recogniser"] else "-"
    low, high = row["interval"]
    cells = "".join(f"{row[name]:>10.3f}" if row[name] is not None else f"{'-':>10}" for name in MEASURES)
    print(
        f"{row['sampler']:<7}{row['num_steps']:>4}{f'{low:g}-{high:g}':>11}{cells}{row['psnr_lost']:>9.2f}"
        f"{row['times_as_fast']:>7.2f}{right:>9}",
        flush=True,
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="PATH")
    parser.add_argument("--data", metavar="FOLDER", help="default: that of the training")
    parser.add_argument("--clips", type=int, default=26, metavar="N", help="generated for each row (default 26)")
    parser.add_argument("--guidance_scale", type=float, metavar="X", help="default: the checkpoint's")
    parser.add_argument("--judge_steps", type=int, default=0, metavar="N", help="of its training (default 0: none)")
    parser.add_argument("--name", default="few_steps", help="of the result file (default few_steps)")
    return parser.parse_args()


def main() -> None:
    """A row for each way, ``results/few_steps.json``."""
    args = arguments()
    given = {"DATA_DIR": args.data, "GUIDANCE_SCALE": args.guidance_scale}
    changed = {key: value for key, value in given.items() if value is not None}
    loaded = load_model(args.checkpoint, changed, batch_size=16)
    data = load_dataset(loaded.config)
    rows = rows_to_judge(loaded, data, "train").parts["train"]
    captions = sorted({data.texts[row] for row in rows})
    chosen = captions[:: max(1, len(captions) // args.clips)][: args.clips]
    real = [row for row in rows if data.texts[row] in chosen]
    parts, found = parts_of(loaded.config, data), None
    if args.judge_steps:
        seed = loaded.config.SEED
        found = train_judge(data, parts.training, parts.held_out, seed=seed, num_steps=args.judge_steps)
    requests = [Request(caption, loaded.config.SEED) for caption in chosen]
    guided = loaded.config.GUIDANCE_SCALE not in (0.0, 1.0)
    print(f"{'':<7}{'':>4}{'interval':>11}{''.join(f'{name[:9]:>10}' for name in MEASURES)}{'dB lost':>9}{'x':>7}")
    results: list[dict[str, Any]] = []
    make(loaded, Way("ddim", 1), requests[: loaded.batch_size])  # chooses kernels
    for way in [*STEPS, *(INTERVALS if guided else [])]:
        clips, seconds = make(loaded, way, requests)
        frames = [clip.frames for clip in clips]
        motion = measure_motion(frames, chosen, [data.frames(row) for row in real], [data.texts[row] for row in real])
        score = found.judge.score(found.judge.name_signs(frames, chosen), chosen) if found else None
        first = results[0] if results else {"seconds": seconds, "moving_psnr": motion["moving_psnr"]}
        row = {"sampler": way.sampler, "num_steps": way.num_steps, "interval": list(way.interval), "seconds": seconds}
        row |= {name: motion[name] for name in MEASURES}
        row |= {
            "times_as_fast": first["seconds"] / seconds,
            "psnr_lost": first["moving_psnr"] - motion["moving_psnr"],
            "recogniser": score.to_dict() if score else None,
        }
        show(row)
        results.append(row)
    facts = {
        "step": loaded.step,
        "clips": len(chosen),
        "guidance_scale": loaded.config.GUIDANCE_SCALE,
        "moving_psnr_frozen": motion["moving_psnr_frozen"],
        "ceiling": found.ceiling.to_dict() if found and found.ceiling else None,
    }
    print(f"written: {write_result(args.name, command_line('few_steps'), {**facts, 'rows': results})}", file=sys.stderr)


if __name__ == "__main__":
    main()
