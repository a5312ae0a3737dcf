"""Which checkpoints there are: find them, describe each, and show them as a table or for machines."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from utils.checkpoint import (
    CheckpointError,
    DamagedCheckpointError,
    config_of,
    load,
    peek,
)


@dataclass(frozen=True)
class CheckpointSummary:
    """One line of ``python main.py checkpoints``; ``problem`` is empty for a sound file."""

    path: Path
    experiment: str  # the folder
    size_bytes: int
    modified: float  # seconds since 1970
    step: int | None = None
    epoch: int | None = None
    validation_loss: float | None = None
    architecture: str = ""
    damaged: bool = False  # or else unusable here: another version's, another program's
    problem: str = ""


def summarise(path: Path, *, verify: bool = False) -> CheckpointSummary:
    """Describe a file without raising: a damaged one is listed with its problem.

    What is read is the description and its checksum; ``verify`` reads every byte and number, as loading does.
    """
    stat = path.stat()
    place = (path, path.parent.name, stat.st_size, stat.st_mtime)
    try:
        content = load(path) if verify else peek(path)
        config = config_of(content, path)
    except CheckpointError as error:
        return CheckpointSummary(*place, damaged=isinstance(error, DamagedCheckpointError), problem=str(error))
    variant = f" {config.TINYFUSION_VARIANT}" if config.MODEL_ARCHITECTURE == "tinyfusion" else ""
    facts = (content["step"], content["epoch"], content["validation_loss"])
    return CheckpointSummary(*place, *facts, f"{config.MODEL_ARCHITECTURE}{variant}")


def find(folder: str | Path) -> list[Path]:
    """Every checkpoint below ``folder``, by experiment and age."""
    files = [path for path in Path(folder).rglob("*.pt") if path.is_file()]
    return sorted(files, key=lambda path: (path.parent, path.stat().st_mtime, path.name))


def table(found: list[CheckpointSummary]) -> str:
    """For people: a line a file, damaged ones with the reason."""
    rows = [("experiment", "step", "epoch", "val loss", "size", "age", "architecture", "path")]
    for one in found:
        loss = "-" if one.validation_loss is None else f"{one.validation_loss:.4f}"
        numbers = ("-", "-", "-") if one.problem else (f"{one.step:,}", f"{one.epoch:,}", loss)
        size, what = f"{one.size_bytes / 2**20:.1f} MiB", "damaged" if one.damaged else one.architecture or "unusable"
        rows.append((one.experiment, *numbers, size, age(one.modified), what, one.problem or str(one.path)))
    columns = []
    for index, column in enumerate(zip(*rows, strict=True)):
        width = max(map(len, column)) if index < 7 else 0
        columns.append([f"{cell:<{width}}" if index in (0, 6) else f"{cell:>{width}}" for cell in column])
    return "\n".join("  ".join(cells) for cells in zip(*columns, strict=True))


def as_json(found: list[CheckpointSummary]) -> list[dict[str, Any]]:
    """For machines: the same facts as plain values."""
    return [{**asdict(one), "path": str(one.path)} for one in found]


def age(modified: float) -> str:
    """``3 h`` for a time stamp three hours ago."""
    seconds = max(0.0, time.time() - modified)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
