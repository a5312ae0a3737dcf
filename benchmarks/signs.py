"""Camera video of whole signers: prepared, trained with ``--preset signs``, evaluated. About an hour on two cores.

    python -m benchmarks.signs                    # the 60 camera clips of ../shared/real/isl
    python -m benchmarks.signs --clips words      # the 101 films of ../shared/real/words
    python -m benchmarks.signs --evaluate-only    # again, for example where requirements-pose.txt finds hands

The clips are not of this project: where they are absent, so is the benchmark.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.machine import ROOT, command_line, result_name, run_command, write_result

REAL = ROOT.parent / "shared" / "real"
ROWS = (  # printed: name, way into a part of evaluation.json
    ("moving PSNR, dB", "motion.moving_psnr"),
    ("the same, frozen", "motion.moving_psnr_frozen"),
    ("motion explained, mean", "motion.explained"),
    ("motion explained, worst", "motion.explained_worst"),
    ("amplitude", "motion.amplitude_ratio"),
    ("hands found", "hands.generated.found"),
    ("PCK at 0.2", "hands.generated.pck"),
)


def train(folder: Path, extra: str) -> float:
    """Seconds of the training below ``folder``."""
    where = " ".join(
        f"--set {key}={folder / sub}"
        for key, sub in (("CHECKPOINT_DIR", "checkpoints"), ("LOG_DIR", "logs"), ("SAMPLE_DIR", "samples"))
    )
    return run_command(f"train --preset signs {where} --set DATA_DIR={folder / 'clips'}{extra}")


def main() -> int:
    """Run what is missing, print the rows, write ``results/signs.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", choices=("isl", "words"), default="isl")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="another recipe than the preset's"
    )
    parser.add_argument("--folder", type=Path, help="default: generated_samples/benchmark_signs_CLIPS")
    parser.add_argument("--evaluate-only", action="store_true", help="the checkpoint that lies in the folder")
    args = parser.parse_args()
    source = REAL / args.clips
    if not source.is_dir():
        print(f"{source} is absent: skipped. It holds real clips, which are no part of this project.")
        return 0
    folder = (args.folder or ROOT / "generated_samples" / f"benchmark_signs_{args.clips}").resolve()
    times = folder / "seconds.json"
    if not args.evaluate_only:
        if folder.exists():
            parser.error(f"{folder} exists; the benchmark measures from nothing. Remove it or name another --folder.")
        prepare = run_command(f"prepare-data --preset signs --videos {source} --output {folder / 'clips'}")
        seconds = train(folder, "".join(f" --set {value}" for value in args.set))
        times.write_text(json.dumps({"prepare_seconds": round(prepare, 1), "train_seconds": round(seconds, 1)}))
    model, report = folder / "checkpoints" / "signs" / "latest_checkpoint.pt", folder / "evaluation"
    seconds = run_command(f"evaluate --checkpoint {model} --output {report}")
    scores = json.loads((report / "evaluation.json").read_text().replace(f"{folder}/", ""))
    del scores["checkpoint"], scores["data"]
    result = {**json.loads(times.read_text()), "evaluate_seconds": round(seconds, 1), "set": args.set, **scores}
    path = write_result(result_name("signs", (args.clips, "isl")), command_line("signs"), result)
    for name, way in ROWS:
        found: object = scores["parts"]["train"]
        for key in way.split("."):
            found = found.get(key) if isinstance(found, dict) else None
        print(f"{name:<26}{'not measured' if found is None else f'{found:.3f}':>14}")
    print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
