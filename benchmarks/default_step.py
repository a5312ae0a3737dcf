"""Seconds and memory of real training steps of the default config, from the seed's settings on real clips.

    python main.py prepare-data --languages ase
    python -m benchmarks.default_step --steps 2

The text encoder is the packaged one where no hub is reachable (its width, 384 instead of 768, changes the text
projection alone). States are weights, gradients, two AdamW moments and the average, all float32.
"""

from __future__ import annotations

import argparse
import tempfile
import time

from benchmarks.machine import peak_memory_bytes, write_result
from config import make_config
from methods.trainer import Trainer
from presets import PACKAGED_ENCODER

GIB = 2**30


def main() -> None:
    """Take the steps, print them, write ``results/default_step.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--data", default="training_data/ase")
    parser.add_argument("--precision", default="bf16", choices=("bf16", "no"))
    parser.add_argument("--encoder", default=PACKAGED_ENCODER)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folders = {key: folder for key in ("CHECKPOINT_DIR", "LOG_DIR", "SAMPLE_DIR")}
        changed = {"DATA_DIR": args.data, "MIXED_PRECISION": args.precision, "TEXT_ENCODER": args.encoder}
        trainer = Trainer(make_config("default", {**folders, **changed}))
        parameters = sum(p.numel() for p in trainer.model.parameters())
        states = 4 * 5 * parameters  # bytes
        steps = []
        for _ in range(args.steps):
            start = time.perf_counter()
            metrics = trainer.train_step()
            trainer.step += 1
            steps.append({"seconds": round(time.perf_counter() - start, 1), "loss": round(metrics.loss, 4)})
            print(steps[-1], flush=True)
    peak = peak_memory_bytes(trainer.device)
    result = {
        "device": str(trainer.device),
        "precision": args.precision,
        "parameters": parameters,
        "steps": steps,
        "states_gib": round(states / GIB, 2),
        "peak_memory_gib": round(peak / GIB, 2),
        "beyond_states_gib": round((peak - states) / GIB, 2),
    }
    path = write_result("default_step", f"python -m benchmarks.default_step --steps {args.steps}", result)
    print(result, f"\nwritten: {path}")


if __name__ == "__main__":
    main()
