"""What a run tells while it runs: TensorBoard's 15 categories, and the scalars again in ``metrics.jsonl``.

Tags carry the category's number and name (``01_Training/loss``), so that TensorBoard lists them in reading order. What
is said is decided in ``methods/training/report.py``; here it is written. Nothing is ever deleted: where a run goes on
from a checkpoint, what was logged beyond it is hidden in TensorBoard and moved to ``metrics_replaced.jsonl``. And no
training ends for its logs: where the disk refuses them, one line says so.
"""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from config import UserError
from utils.files import write_file
from utils.processes import world
from utils.writing import encode_clip

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

CATEGORIES = (
    "Training", "Loss_Components", "Epoch_Summary", "Learning_Rate", "Performance", "Diffusion", "Noise_Analysis",
    "Model_Architecture", "Parameter_Stats", "Parameter_Histograms", "Gradient_Stats", "Generated_Samples",
    "Noise_Visualization", "System", "Configuration",
)  # fmt: skip
METRICS, REPLACED = "metrics.jsonl", "metrics_replaced.jsonl"
NUM_BINS = 64  # of a histogram
WAITING_BYTES = 2**20  # of lines that the disk has refused so far


def tag(category: str, name: str) -> str:
    """``("Training", "loss")`` -> ``01_Training/loss``."""
    return f"{CATEGORIES.index(category) + 1:02d}_{category}/{name}"


class LogError(UserError):
    """The logs have no place."""


class TrainLogger:
    """Writes below ``folder``; use as a context manager, so that nothing stays unflushed."""

    def __init__(self, folder: Path, *, first_step: int = 0) -> None:
        """``first_step``: where the run begins or goes on; what an earlier one logged beyond it is put aside."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._purge_step = first_step + 1 if first_step else 0  # TensorBoard hides this step itself, too
        _put_aside(folder, first_step)
        self._metrics = open(folder / METRICS, "ab", buffering=WAITING_BYTES)
        self._shows = True  # whether TensorBoard's writer lives
        self._is_told = False  # that the disk refuses

    def __enter__(self) -> TrainLogger:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._metrics.close()
        except OSError as error:
            self._tell(error)
        if "_writer" in vars(self):
            self._show(lambda writer: writer.close())

    @cached_property
    def _writer(self) -> SummaryWriter:
        """TensorBoard's, made when there is something to write: importing it takes a good part of a second."""
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self._folder), purge_step=self._purge_step, flush_secs=10)

    def _show(self, act: Callable[[SummaryWriter], object]) -> None:
        """``act`` on TensorBoard's writer; one that the disk has refused once is dead, and is left alone."""
        if self._shows:
            try:
                act(self._writer)
            except OSError as error:
                self._shows = False
                self._tell(error)

    def _tell(self, refusal: OSError) -> None:
        if not self._is_told:
            self._is_told = True
            tqdm.write(
                f"note: {self._folder} cannot be written ({refusal.strerror or refusal}); training goes on. "
                f"TensorBoard stops here, {METRICS} goes on once there is room",
                file=sys.stderr,
            )

    def scalars(self, step: int, values: Mapping[tuple[str, str], float], *, shown_only: bool = False) -> None:
        """(category, name) -> value, after ``step`` optimiser steps; in JSON what is no finite number is null.

        ``shown_only``: in TensorBoard alone, where the step has its line of JSON already.
        """
        named = {tag(*key): float(value) for key, value in values.items()}
        self._show(lambda writer: [writer.add_scalar(name, value, step) for name, value in named.items()])
        if shown_only:
            return
        finite = {name: value if math.isfinite(value) else None for name, value in named.items()}
        line = json.dumps({"step": step, "time": round(time.time(), 3), **finite}) + "\n"
        try:
            self._metrics.write(line.encode())
            self._metrics.flush()  # what is refused stays in the buffer until the next time
        except OSError as error:
            self._tell(error)

    def clip(self, step: int, name: str, frames: np.ndarray, *, fps: int) -> None:
        """A GIF under Generated Samples. ``frames`` (F, H, W, 3) uint8; encoded here, since add_video needs moviepy."""
        self._image(step, tag("Generated_Samples", name), frames.shape[1:3], encode_clip(frames, fps, form="gif")[0])

    def picture(self, step: int, category: str, name: str, pixels: np.ndarray) -> None:
        """A PNG. ``pixels`` (H, W, 3) uint8."""
        encoded = iio.imwrite("<bytes>", pixels, extension=".png")
        self._image(step, tag(category, name), pixels.shape[:2], encoded)

    def _image(self, step: int, name: str, size: tuple[int, int], encoded: bytes) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        image = Summary.Image(height=size[0], width=size[1], colorspace=3, encoded_image_string=encoded)
        summary = Summary(value=[Summary.Value(tag=name, image=image)])
        self._show(lambda writer: writer._get_file_writer().add_summary(summary, step))

    def table(
        self,
        step: int,
        category: str,
        name: str,
        header: Sequence[str],
        rows: Sequence[Sequence[object]],
        *,
        note: str = "",
    ) -> None:
        """A table with a ``note`` above it, under the Text tab."""
        lines = [_row(header), _row(["---"] * len(header)), *map(_row, rows)]
        text = (note + "\n\n" if note else "") + "\n".join(lines)
        self._show(lambda writer: writer.add_text(tag(category, name), text, step))

    def histogram(self, step: int, category: str, name: str, values: Tensor) -> None:
        """The distribution of many ``values``, all of them finite, on the host."""
        self._show(lambda writer: writer.add_histogram(tag(category, name), values, step, bins=NUM_BINS))

    def graph(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """The module's graph, traced with ``inputs``, under the Graphs tab, which knows no categories."""
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tracer, about branches that depend on shapes
            traced = torch.jit.trace(module, inputs, strict=False, check_trace=False)  # add_graph would do it twice
            self._show(lambda writer: writer.add_graph(traced, inputs, use_strict_trace=False))


class SilentLogger:
    """What processes have that write nothing, so that they take the same way: ``TrainLogger`` without a word."""

    def __enter__(self) -> SilentLogger:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def scalars(self, *_: object, **__: object) -> None:
        pass

    clip = picture = table = histogram = graph = scalars


Logger = TrainLogger | SilentLogger


def open_logger(folder: Path, *, first_step: int) -> Logger:
    """The log below ``folder`` for the process that writes; silence for the others.

    Raises:
        LogError: nothing can be written there.
    """
    if not world().is_first:
        return SilentLogger()
    try:
        return TrainLogger(folder, first_step=first_step)
    except OSError as error:
        raise LogError(f"{folder} cannot hold the logs: {error.strerror or error}. Set another LOG_DIR.") from error


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _put_aside(folder: Path, first_step: int) -> None:
    """Move the lines of ``metrics.jsonl`` beyond ``first_step``, and one that a crash cut short, to another file."""
    path = folder / METRICS
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    is_beyond = [not first_step or _step(line) > first_step for line in lines]
    if any(is_beyond):  # nothing is lost, should the disk refuse the second of the two
        with open(folder / REPLACED, "ab") as replaced:
            replaced.writelines(compress(lines, is_beyond))
        write_file(path, b"".join(line for line, beyond in zip(lines, is_beyond, strict=True) if not beyond))


def _step(line: bytes) -> float:
    """The step of a line; beyond every other where it is no whole line."""
    try:
        return float(json.loads(line)["step"]) if line.endswith(b"\n") else math.inf
    except (ValueError, KeyError, TypeError):
        return math.inf
