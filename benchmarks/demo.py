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


def measure(folder: Path, name: str, extra: str) -> dict[str, object]:
    """Train and evaluate one run; its seconds and scores."""
    where = " ".join(
        f"--set {key}={folder / sub}"
        for key, sub in (("CHECKPOINT_DIR", "checkpoints"), ("LOG_DIR", "logs"), ("SAMPLE_DIR", "samples"))
    )
    data = f"--set DATA_DIR={folder / 'training_data' / 'ase'}"
    train = run_command(f"train --preset demo {where} {data} --set EXPERIMENT_NAME={name}{extra}")
    report = folder / name
    evaluate = run_command(f"evaluate --checkpoint {folder}/checkpoints/{name}/latest_checkpoint.pt --output {report}")
    scores = json.loads((report / "evaluation.json").read_text())
    return {"train_seconds": round(train, 1), "evaluate_seconds": round(evaluate, 1), **scores}


def main() -> None:
    """Run both, print the table, write ``results/demo.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "generated_samples" / "benchmark_demo")
    folder = parser.parse_args().folder.resolve()
    if folder.exists():
        parser.error(f"{folder} exists; the benchmark measures from nothing. Remove it or name another --folder.")
    prepare = run_command(f"prepare-data --preset demo --languages ase --output {folder / 'training_data'}")
    runs = {"demo": measure(folder, "demo", ""), "text_blind": measure(folder, "blind", " --set SHUFFLE_CAPTIONS=True")}
    for scores in runs.values():
        for key in ("checkpoint", "data"):
            del scores[key]
    path = write_result("demo", "python -m benchmarks.demo", {"prepare_seconds": round(prepare, 1), "runs": runs})
    print(f"\n{'run':<12}{'train':>8}{'evaluate':>10}{'ranking':>9}{'retrieval':>11}{'PSNR':>7}   95 % of guessing")
    for name, scores in runs.items():
        ranking, found = scores["prompt_ranking"], scores["retrieval"]
        low, high = ranking["chance_95"]
        print(
            f"{name:<12}{scores['train_seconds']:>6.0f} s{scores['evaluate_seconds']:>8.0f} s"
            f"{ranking['accuracy']:>9.3f}{found['accuracy']:>11.3f}{scores['retrieval_psnr_db']:>7.1f}"
            f"   {low:.3f}-{high:.3f}"
        )
    print(f"written: {path}")


if __name__ == "__main__":
    main()
