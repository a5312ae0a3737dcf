"""Sentences that nobody recorded, of 101 signs of one signer: joined, trained on, and held-out pairs read back.

    python -m benchmarks.sentences                               # all 101 signs
    python -m benchmarks.sentences --signs 12 --sentences 132 --lengths 2 --set NUM_EPOCHS=190
    python -m benchmarks.sentences --evaluate-only               # the checkpoint that lies in the folder

The clips are the films of ../shared/real/words, which are not of this project: where they are absent, so is the
benchmark. ``--signs N`` takes the first N by name that have two letters or more. What is read, and by whom, is in
docs/sentences.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from benchmarks.machine import ROOT, command_line, result_name, run_command, write_result

WORDS = ROOT.parent / "shared" / "real" / "words"
# Tokens of a caption are looked at by every block, so words may change places; 24 frames are 8 for each of three signs.
SETTINGS = {
    "MODEL_ARCHITECTURE": "dit3d", "NUM_FRAMES": 24, "IMAGE_SIZE": 32, "TUBELET_FRAMES": 4, "TUBELET_SIZE": 8,
    "TRANSFORMER_WIDTH": 256, "TRANSFORMER_DEPTH": 6, "INFERENCE_TIMESTEPS": 25, "NOISE_SHIFT": 5.0,
    "MOTION_WEIGHT": 0.0, "BATCH_SIZE": 16, "NUM_EPOCHS": 28, "LEARNING_RATE": 1e-3, "EXPERIMENT_NAME": "sentences",
    "SAVE_EVERY_EPOCHS": 4, "SAMPLE_EVERY_EPOCHS": 0, "VALIDATE_EVERY_EPOCHS": 0,
}  # fmt: skip


def chosen(folder: Path, number: int) -> Path:
    """The films themselves, or the first ``number`` of two letters and more, copied into ``folder``."""
    if not number:
        return WORDS
    folder.mkdir(parents=True)
    for path in [path for path in sorted(WORDS.glob("*.mp4")) if len(path.stem) > 1][:number]:
        for file in (path, path.with_suffix(".txt")):
            shutil.copy(file, folder)
    return folder


def main() -> int:
    """Run what is missing, print the readings, write ``results/sentences.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signs", type=int, default=0, metavar="N", help="default: all")
    parser.add_argument("--sentences", type=int, default=2000, metavar="N")
    parser.add_argument("--lengths", type=int, nargs="+", default=[2, 3], metavar="N")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="another recipe")
    parser.add_argument("--folder", type=Path, help="default: generated_samples/benchmark_sentences")
    parser.add_argument("--evaluate-only", action="store_true", help="the checkpoint that lies in the folder")
    args = parser.parse_args()
    if not WORDS.is_dir():
        print(f"{WORDS} is absent: skipped. It holds real clips, which are no part of this project.")
        return 0
    folder = (args.folder or ROOT / "generated_samples" / "benchmark_sentences").resolve()
    settings = {**SETTINGS, "DATA_DIR": folder / "clips", "CHECKPOINT_DIR": folder / "checkpoints"}
    settings |= {"LOG_DIR": folder / "logs", "SAMPLE_DIR": folder / "samples"}
    flags = "".join(f" --set {key}={value}" for key, value in settings.items())
    times = folder / "seconds.json"
    if not args.evaluate_only:
        if folder.exists():
            parser.error(f"{folder} exists; the benchmark measures from nothing. Remove it or name another --folder.")
        what = f"--sentences random:{args.sentences} --lengths {' '.join(map(str, args.lengths))} --held_out_pairs 0.1"
        where = f"--clips {chosen(folder / 'signs', args.signs)} --output {folder / 'clips'} --set IMAGE_SIZE=64"
        prepare = run_command(f"prepare-data {what} {where}")
        seconds = run_command(f"train --preset signs{flags}{''.join(f' --set {value}' for value in args.set)}")
        times.write_text(json.dumps({"prepare_seconds": round(prepare, 1), "train_seconds": round(seconds, 1)}))
    model = folder / "checkpoints" / "sentences" / "latest_checkpoint.pt"
    parts, measured = {}, json.loads(times.read_text())
    for part in ("train", "test"):
        report = folder / f"evaluation_{part}"
        seconds = run_command(f"evaluate --checkpoint {model} --split {part} --max_clips 48 --output {report}")
        scores = json.loads((report / "evaluation.json").read_text())
        reading = scores["parts"][part]["reading"]
        controls = [one for one in scores["controls"] if one["measure"].startswith("reading")]
        parts[part] = {"evaluate_seconds": round(seconds, 1), **reading, "controls": controls}
        for kind in ("real", "generated"):
            found = reading[kind]
            right = found["in_order"]
            print(f"{part:<6}{kind:<10} in order {right['correct']} of {right['num']}, "
                  f"word error rate {found['word_error_rate']:.3f}")  # fmt: skip
    recipe = {key: getattr(args, key) for key in ("signs", "sentences", "lengths", "set")}
    result = {**recipe, **measured, "settings": SETTINGS, "step": scores["step"], "parts": parts}
    path = write_result(result_name("sentences", (str(args.signs or "all"), "all")), command_line("sentences"), result)
    print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
