"""What telling patches apart buys: the demo's first steps with the published table of positions and with fitted ones.

python main.py prepare-data --preset demo --languages ase
python -m benchmarks.positions --epochs 30         # about two minutes
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.machine import write_result
from benchmarks.retrieval import retrieval
from config import make_config
from methods.evaluation.scores import Score
from methods.sampling.loading import LoadedModel
from methods.trainer import Trainer
from models.layers.positions import fitted_positions, sincos_positions


def train(name: str, epochs: int, folder: str) -> tuple[int, Score, float]:
    """Train the demo for ``epochs`` with the named positions; steps taken, retrieval over the 26 letters, dB."""
    folders = {key: folder for key in ("CHECKPOINT_DIR", "LOG_DIR", "SAMPLE_DIR")}
    trainer = Trainer(make_config("demo", {**folders, "NUM_EPOCHS": epochs}))
    dit, adapters = trainer.model.backbone.dit, trainer.model.backbone.adapters
    if name != "fitted":
        dit.pos_embed.copy_(sincos_positions(dit.hidden_size, dit.grid_size))
    if name == "published":
        for adapter in adapters:
            adapter.place.sub_(fitted_positions(adapter.place.shape[-1], dit.grid_size))
    while trainer.step < trainer.num_steps:
        trainer.train_step()
        trainer.step += 1
    loaded = LoadedModel(trainer.model.eval(), trainer.encoder, trainer.config, trainer.step, Path(folder))
    with trainer.ema.applied_to(trainer.model), torch.no_grad():
        return trainer.step, *retrieval(loaded, trainer.data)


def main() -> None:
    """Three runs, a table, ``results/positions.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    epochs = parser.parse_args().epochs
    rows = {}
    for name in ("published", "published + adapters", "fitted"):
        with tempfile.TemporaryDirectory() as folder:
            steps, score, psnr = train(name, epochs, folder)
        rows[name] = {"steps": steps, "psnr_db": round(psnr, 2), "retrieval": score.to_dict()}
        print(f"{name:<22}{steps:>6} steps  retrieval {score.correct:>2}/{score.num}  {psnr:.1f} dB")
    path = write_result("positions", f"python -m benchmarks.positions --epochs {epochs}", {"rows": rows})
    print(f"written: {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
