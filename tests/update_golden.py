"""Renew golden.json: the losses of the first debug steps. Only in a commit that says why they change.

python -m tests.update_golden
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch

from config import make_config
from methods.trainer import Trainer
from tests.conftest import debug_settings, write_clips_folder

GOLDEN = Path(__file__).with_name("golden.json")
NUM_STEPS = 3


def first_losses(folder: Path) -> list[float]:
    """The loss of each of the first NUM_STEPS steps of the debug preset; the run lives below ``folder``."""
    clips = write_clips_folder(folder / "clips")
    trainer = Trainer(make_config("debug", debug_settings(folder, clips)))
    losses = []
    for _ in range(NUM_STEPS):
        losses.append(trainer.train_step().loss)
        trainer.step += 1
    return losses


def main() -> None:
    torch.set_num_threads(1)
    old = json.loads(GOLDEN.read_text())["losses"] if GOLDEN.is_file() else []
    with tempfile.TemporaryDirectory() as folder:
        new = first_losses(Path(folder))
    GOLDEN.write_text(json.dumps({"losses": new}, indent=2) + "\n")
    print(f"losses of the first {NUM_STEPS} debug steps: {old} -> {new}")


if __name__ == "__main__":
    main()
