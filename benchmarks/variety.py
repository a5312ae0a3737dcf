"""Several clips a caption: do the generated ones differ as the real ones do, or is each the mean of all?

    python -m benchmarks.variety                                  # about 20 minutes on two cores
    python -m benchmarks.variety --set AUTOENCODER=pca:32          # another recipe

Drawn letters of 13 sign languages with one-handed alphabets; every caption names its letter alone, so that "letter A"
has 13 clips: other hands, other signers, and some other handshapes. The spread is over the clips of a caption.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.ceilings import ONE_HANDED
from benchmarks.letters import TRAINED_ONLY
from benchmarks.machine import ROOT, command_line, run_command, write_result

NUM_EPOCHS = 40  # of 85 steps
CLIPS_PER_CAPTION, MAX_CLIPS = 8, 104  # generated; real ones


def prepare(folder: Path) -> None:
    """Render the clips into ``folder`` and leave of each caption its letter."""
    languages = " ".join(sorted((*ONE_HANDED, *TRAINED_ONLY)))
    run_command(f"prepare-data --preset demo --languages {languages} --letters A-Z --output {folder}")
    for path in folder.rglob("*.txt"):
        path.write_text(f"letter {path.stem.rpartition('_')[2]}\n", encoding="utf-8")


def main() -> int:
    """Prepare, train, evaluate, print, write ``results/variety.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="another recipe than the demo's"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "generated_samples" / "benchmark_variety")
    args = parser.parse_args()
    folder = args.folder.resolve()
    if folder.exists():
        parser.error(f"{folder} exists; the benchmark measures from nothing. Remove it or name another --folder.")
    prepare(folder / "clips")
    places = {"CHECKPOINT_DIR": "checkpoints", "LOG_DIR": "logs", "SAMPLE_DIR": "samples", "DATA_DIR": "clips"}
    settings = [f"{key}={folder / sub}" for key, sub in places.items()] + [f"NUM_EPOCHS={NUM_EPOCHS}", *args.set]
    seconds = run_command("train --preset demo" + "".join(f" --set {setting}" for setting in settings))
    model, report = folder / "checkpoints" / "demo" / "latest_checkpoint.pt", folder / "evaluation"
    how = f"--max_clips {MAX_CLIPS} --clips_per_caption {CLIPS_PER_CAPTION}"
    run_command(f"evaluate --checkpoint {model} --output {report} {how}")
    scores = json.loads((report / "evaluation.json").read_text())
    part = scores["parts"]["train"]
    print(json.dumps(part["variety"], indent=2))
    result = {"train_seconds": round(seconds, 1), "set": args.set, "step": scores["step"]}
    kept = {"variety": part["variety"], "motion": part["motion"], "denoising": scores["denoising"]}
    print(f"written: {write_result('variety', command_line('variety'), result | kept)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
