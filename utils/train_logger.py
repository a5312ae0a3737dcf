"""What a run tells while it runs: TensorBoard scalars and clips, and the same scalars in ``metrics.jsonl``.

Tags carry the category's number and name (``01_Training/loss``), so that TensorBoard lists them in reading order.
An existing log is continued, never deleted.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from utils.video import encode_gif

CATEGORIES = (
    "Training", "Loss_Components", "Epoch_Summary", "Learning_Rate", "Performance", "Diffusion", "Noise_Analysis",
    "Model_Architecture", "Parameter_Stats", "Parameter_Histograms", "Gradient_Stats", "Generated_Samples",
    "Noise_Visualization", "System", "Configuration",
)  # fmt: skip


def tag(category: str, name: str) -> str:
    """``("Training", "loss")`` -> ``01_Training/loss``."""
    return f"{CATEGORIES.index(category) + 1:02d}_{category}/{name}"


class TrainLogger:
    """Writes below ``folder``; use as a context manager, so that nothing stays unflushed."""

    def __init__(self, folder: Path, *, first_step: int = 0) -> None:
        """``first_step`` hides what an interrupted run logged beyond the checkpoint that is resumed."""
        folder.mkdir(parents=True, exist_ok=True)
        purge_step = first_step + 1 if first_step else None  # TensorBoard hides this step itself, too
        self._writer = SummaryWriter(str(folder), purge_step=purge_step, flush_secs=10)
        self._metrics = open(folder / "metrics.jsonl", "a", encoding="utf-8")

    def __enter__(self) -> TrainLogger:
        return self

    def __exit__(self, *_: object) -> None:
        self._metrics.close()
        self._writer.close()

    def scalars(self, step: int, values: dict[tuple[str, str], float]) -> None:
        """(category, name) -> value, after ``step`` optimiser steps."""
        named = {tag(*key): float(value) for key, value in values.items()}
        for name, value in named.items():
            self._writer.add_scalar(name, value, step)
        self._metrics.write(json.dumps({"step": step, "time": round(time.time(), 3), **named}) + "\n")
        self._metrics.flush()

    def clip(self, step: int, name: str, frames: np.ndarray, *, fps: int) -> None:
        """A GIF under Generated Samples. ``frames`` (F, H, W, 3) uint8; encoded here, since add_video needs moviepy."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        _, height, width, _ = frames.shape
        encoded = encode_gif(frames, fps=fps)
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encoded)
        value = Summary.Value(tag=tag("Generated_Samples", name), image=image)
        self._writer._get_file_writer().add_summary(Summary(value=[value]), step)

    def settings(self, step: int, values: dict[str, Any]) -> None:
        """The config as a table."""
        rows = "\n".join(f"| {key} | `{value}` |" for key, value in values.items())
        self._writer.add_text(tag("Configuration", "settings"), f"| setting | value |\n|---|---|\n{rows}", step)
