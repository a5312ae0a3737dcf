"""The figures of the demo, and of its text-blind control, from the commands that a user types.

    python -m benchmarks.demo              # about twice as long as `make demo`

Trains ``--preset demo`` twice in a folder of its own: as it is, and with SHUFFLE_CAPTIONS=True, where every clip gets a
random caption at every step. The control must fall inside the interval of guessing: so the measures can fail.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.machine import ROOT, run_command, write_result


def train(folder: Path, name: str, extra: str) -> float:
    """Seconds of one training below ``folder``."""
    where = " ".join(
        f"--set {key}={folder / sub}"
        for key, sub in (("CHECKPOINT_DIR", "checkpoints"), ("LOG_DIR", "logs"), ("SAMPLE_DIR", "samples"))
    )
    data = f"--set DATA_DIR={folder / 'training_data' / 'ase'}"
    return run_command(f"train --preset demo {where} {data} --set EXPERIMENT_NAME={name}{extra}")


def evaluate(folder: Path, name: str, extra: str = "") -> dict[str, object]:
    """Seconds and scores of one evaluation."""
    report = folder / name
    seconds = run_command(f"evaluate --checkpoint {checkpoint(folder, name)} --output {report}{extra}")
    scores = json.loads((report / "evaluation.json").read_text().replace(f"{folder}/", ""))
    return {"evaluate_seconds": round(seconds, 1), **scores}


def checkpoint(folder: Path, name: str) -> Path:
    return folder / "checkpoints" / name / "latest_checkpoint.pt"


def main() -> None:
    """Run both, print the table, write ``results/demo.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "generated_samples" / "benchmark_demo")
    folder = parser.parse_args().folder.resolve()
    if folder.exists():
        parser.error(f"{folder} exists; the benchmark measures from nothing. Remove it or name another --folder.")
    prepare = run_command(f"prepare-data --preset demo --languages ase --output {folder / 'training_data'}")
    seconds = {"demo": train(folder, "demo", ""), "blind": train(folder, "blind", " --set SHUFFLE_CAPTIONS=True")}
    runs = {
        "demo": evaluate(folder, "demo", f" --blind {checkpoint(folder, 'blind')}"),
        "blind": evaluate(folder, "blind"),
    }
    for name, scores in runs.items():
        for key in ("checkpoint", "data"):
            del scores[key]
        scores["train_seconds"] = round(seconds[name], 1)
    path = write_result("demo", "python -m benchmarks.demo", {"prepare_seconds": round(prepare, 1), "runs": runs})
    print(f"\n{'run':<12}{'train':>8}{'evaluate':>10}{'ranking':>9}{'retrieval':>11}{'PSNR':>7}   95 % of guessing")
    for name, scores in runs.items():
        part = scores["parts"]["train"]
        ranking, found = part["prompt_ranking"], part["retrieval"]
        low, high = ranking["chance_95"]
        print(
            f"{name:<12}{scores['train_seconds']:>6.0f} s{scores['evaluate_seconds']:>8.0f} s"
            f"{ranking['accuracy']:>9.3f}{found['accuracy']:>11.3f}{part['retrieval_psnr_db']:>7.1f}"
            f"   {low:.3f}-{high:.3f}"
        )
    print(f"written: {path}")


if __name__ == "__main__":
    main()
