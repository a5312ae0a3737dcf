"""How few steps will do: DPM-Solver++(2M) and DDIM on a trained model, named by a recogniser of real clips.

    python -m benchmarks.few_steps --checkpoint checkpoints/letters/latest_checkpoint.pt --clips 208

The same prompts and noises throughout. The recogniser is trained once, on the real clips that the model was trained on,
and knows nothing of samplers. Its ceiling is on the clips that were held out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from benchmarks.machine import write_result
from dataset import load_dataset, parts_of
from methods.evaluation.judge import train_judge
from methods.evaluation.part import rows_to_judge
from methods.sampling.generate import generate
from methods.sampling.loading import load_model
from methods.sampling.provenance import Request

WAYS = (("ddim", 50), ("ddim", 25), ("ddim", 10), ("ddim", 8), ("dpm++", 25), ("dpm++", 10), ("dpm++", 8), ("dpm++", 5))


def main() -> None:
    """A row for each sampler and number of steps, ``results/few_steps.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="PATH")
    parser.add_argument("--clips", type=int, default=208, metavar="N", help="generated for each row (default 208)")
    arguments = parser.parse_args()
    loaded = load_model(arguments.checkpoint, batch_size=16)
    data = load_dataset(loaded.config)
    parts = parts_of(loaded.config, data)
    found = train_judge(data, parts.training, parts.held_out, seed=loaded.config.SEED, num_steps=500)
    captions = sorted({data.texts[row] for row in rows_to_judge(loaded, data, "train").parts["train"]})
    chosen = captions[:: max(1, len(captions) // arguments.clips)][: arguments.clips]
    requests = [Request(caption, loaded.config.SEED) for caption in chosen]
    print(f"{'sampler':<9}{'steps':>6}{'named right':>14}{'share':>8}{'95 % interval':>17}")
    rows = []
    for sampler, num_steps in WAYS:
        other = loaded.with_settings(SAMPLER=sampler, INFERENCE_TIMESTEPS=num_steps, ETA=0.0)
        with tqdm(total=len(requests) * num_steps, desc=f"{sampler} {num_steps}", leave=False) as bar:
            clips = generate(other, requests, on_step=bar.update)
        answers = found.judge.name_signs([clip.frames for clip in clips], chosen)
        score = found.judge.score(answers, chosen)
        low, high = score.interval()
        print(
            f"{sampler:<9}{num_steps:>6}{score.correct:>8}/{score.num:<5}{score.accuracy:>8.3f}{f'{low:.3f}-{high:.3f}':>17}"
        )
        rows.append({"sampler": sampler, "num_steps": num_steps, **score.to_dict()})
    ceiling = found.ceiling.to_dict() if found.ceiling else None
    command = f"python -m benchmarks.few_steps --checkpoint {arguments.checkpoint} --clips {arguments.clips}"
    result = {"step": loaded.step, "guidance_scale": loaded.config.GUIDANCE_SCALE, "ceiling": ceiling, "rows": rows}
    print(f"written: {write_result('few_steps', command, result)}", file=sys.stderr)


if __name__ == "__main__":
    main()
