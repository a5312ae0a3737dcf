"""The five architectures side by side: each trains on the 26 letters for the same minutes at its demo size.

    python main.py prepare-data --preset demo --languages ase
    python -m benchmarks.architectures --minutes 2.5      # about 20 minutes on two cores

A few steps are timed first; the number of epochs then follows from the minutes, so that the learning rate's schedule
fits the time that there is. Only figures from one run on a quiet machine compare.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import write_result
from benchmarks.retrieval import retrieval
from config import Config, make_config
from dataset import load_dataset
from diffusion.text2sign import ARCHITECTURES
from methods.evaluation.ranking import prompt_ranking
from methods.sampling.loading import load_model
from methods.trainer import Trainer
from utils.checkpoints.file import latest_path

WARM_UP, TIMED = 5, 20  # steps
NUM_LEVELS = 3  # noise levels of the ranking


def seconds_per_step(config: Config) -> float:
    """Of a fresh run, after WARM_UP steps."""
    trainer = Trainer(config)
    for index in range(WARM_UP + TIMED):
        if index == WARM_UP:
            start = time.perf_counter()
        trainer.train_step()
        trainer.step += 1
    return (time.perf_counter() - start) / TIMED


def measure(name: str, minutes: float, folder: Path) -> dict[str, Any]:
    """Train one architecture for ``minutes`` and evaluate what it saved."""
    places = {key: str(folder / key) for key in ("CHECKPOINT_DIR", "LOG_DIR", "SAMPLE_DIR")}
    given = {**places, "MODEL_ARCHITECTURE": name, "EXPERIMENT_NAME": name, "SAMPLE_EVERY_EPOCHS": 0}
    step = seconds_per_step(make_config("demo", given))
    clips_per_step = make_config("demo").BATCH_SIZE
    num_clips = len(load_dataset(make_config("demo")))
    epochs = max(1, round(minutes * 60 / (step * -(-num_clips // clips_per_step))))
    trainer = Trainer(make_config("demo", {**given, "NUM_EPOCHS": epochs}))
    start = time.perf_counter()
    trainer.run()
    seconds = time.perf_counter() - start
    loaded = load_model(latest_path(trainer.config))
    data = load_dataset(loaded.config)
    rows, captions = list(range(num_clips)), sorted(set(data.texts))
    ranked = prompt_ranking(loaded, data, rows, captions, max_levels=NUM_LEVELS, show_progress=False)
    score, psnr = retrieval(loaded, data)
    return {
        "model": trainer.config.MODEL_NAME,
        "parameters": sum(parameter.numel() for parameter in trainer.model.backbone.parameters()),
        "steps": trainer.num_steps,
        "train_seconds": round(seconds, 1),
        "clips_per_second": round(epochs * num_clips / seconds, 1),
        "prompt_ranking": ranked.score.to_dict(),
        "retrieval": score.to_dict(),
        "retrieval_psnr_db": round(psnr, 2),
    }


def main() -> None:
    """A row for each architecture, ``results/architectures.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2.5, help="training time of each (default 2.5)")
    parser.add_argument("--only", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES), metavar="NAME")
    arguments = parser.parse_args()
    rows = {}
    print(
        f"{'model':<26}{'parameters':>11}{'steps':>7}{'time':>7}{'clips/s':>9}{'ranking':>9}{'retrieval':>11}{'PSNR':>7}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.only:
            row = rows[name] = measure(name, arguments.minutes, Path(folder))
            ranking, found = row["prompt_ranking"], row["retrieval"]
            print(
                f"{row['model']:<26}{row['parameters'] / 1e6:>9.1f} M{row['steps']:>7,}{row['train_seconds']:>5.0f} s"
                f"{row['clips_per_second']:>9.1f}{ranking['correct']:>6}/{ranking['num']}"
                f"{found['correct']:>8}/{found['num']}{row['retrieval_psnr_db']:>7.1f}",
                flush=True,
            )
    command = f"python -m benchmarks.architectures --minutes {arguments.minutes:g}"
    path = write_result("architectures", command, {"rows": rows})
    print(f"written: {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
