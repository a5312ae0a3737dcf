"""The checkpoint file: atomic save, safe load, list, compare.

A checkpoint is one dictionary of tensors and plain JSON types (``FIELDS``), read with ``weights_only=True``, so that
opening a stranger's file runs no code. It is written to a temporary file, flushed to disk and renamed: whenever the
process dies, ``latest_checkpoint.pt`` is a whole file, the old one or the new.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from config import Config, ConfigError, UserError, differences, from_dict, model_keys

FORMAT_VERSION = 1
LATEST = "latest_checkpoint.pt"
FIELDS = ("format_version", "config", "encoder", "epoch", "step", "model", "ema", "optimizer", "scaler", "data")


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged, foreign, or made for another model."""


@dataclass(frozen=True)
class CheckpointSummary:
    """One line of ``python main.py checkpoints``; ``problem`` is empty for a sound file."""

    path: Path
    size_bytes: int
    modified: float  # seconds since the epoch
    step: int | None = None
    epoch: int | None = None
    architecture: str = ""
    problem: str = ""


def latest_path(config: Config) -> Path:
    """Where the experiment's newest state lives."""
    return Path(config.CHECKPOINT_DIR) / config.EXPERIMENT_NAME / LATEST


def epoch_path(config: Config, epoch: int) -> Path:
    """Where the state after ``epoch`` finished epochs is kept."""
    return latest_path(config).with_name(f"checkpoint_epoch_{epoch:04d}.pt")


def save(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` (all of ``FIELDS``) so that ``path`` is never half a file.

    Raises:
        CheckpointError: no space, no permission; what stood at ``path`` is untouched.
    """
    assert set(content) == set(FIELDS), set(content) ^ set(FIELDS)
    with _replacing(path) as partial, open(partial, "wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())


def link(source: Path, target: Path) -> None:
    """Give ``source`` a second name without writing it again; falls back to a copy where links are unknown.

    Raises:
        CheckpointError: as ``save``.
    """
    with _replacing(target) as partial:
        try:
            os.link(source, partial)
        except OSError:
            partial.write_bytes(source.read_bytes())


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write; it takes the place of ``path`` if all went well, and vanishes if not."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        try:
            yield partial
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        refusal = error if isinstance(error, OSError) else error.__context__  # torch's writer wraps the disk's word
        if not isinstance(refusal, OSError):
            raise
        raise CheckpointError(
            f"{path} cannot be written ({refusal.strerror or refusal}); what stood there is untouched. "
            "Make room, or write elsewhere: --set CHECKPOINT_DIR=FOLDER"
        ) from error


def load(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; nothing in the file is executed.

    Raises:
        CheckpointError: missing, truncated, no checkpoint of ours, or of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist. See what there is: python main.py checkpoints")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {_first_line(error)}") from error
    if not isinstance(content, dict) or "format_version" not in content:
        raise CheckpointError(f"{path} is no Text2Sign checkpoint (it has no format_version).")
    if content["format_version"] != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format {content['format_version']}, this version reads {FORMAT_VERSION}. Update Text2Sign."
        )
    missing = [field for field in FIELDS if field not in content]
    if not missing and not (isinstance(content["config"], dict) and "MODEL_ARCHITECTURE" in content["config"]):
        missing = ["the settings of its model"]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}; it was not written by Text2Sign or is damaged.")
    return content


def config_of(content: dict[str, Any], path: Path) -> Config:
    """The config that a checkpoint was trained with.

    Raises:
        CheckpointError: its settings are not ones that this version knows.
    """
    try:
        return from_dict(content["config"])
    except ConfigError as error:
        raise CheckpointError(f"{path} holds settings that this version does not accept: {error}") from error


def check_resumable(path: Path, stored: Config, config: Config) -> list[str]:
    """Lines ``NAME old -> new`` for settings that changed and may.

    Raises:
        CheckpointError: a model key differs.
    """
    changed = differences(config, stored)
    keys = model_keys(stored.MODEL_ARCHITECTURE)
    fixed = [f"{key}={old!r}, the config says {new!r}" for key, (old, new) in changed.items() if key in keys]
    if fixed:
        raise CheckpointError(f"{path} holds {'; '.join(fixed)}. Run: python main.py fix-config --checkpoint {path}")
    return [f"{key} {old} -> {new}" for key, (old, new) in changed.items()]


def summarise(path: Path) -> CheckpointSummary:
    """Describe a file without raising: a damaged one is listed with its problem."""
    stat = path.stat()
    try:
        content = load(path)
        config = config_of(content, path)
    except CheckpointError as error:
        return CheckpointSummary(path, stat.st_size, stat.st_mtime, problem=str(error))
    return CheckpointSummary(path, stat.st_size, stat.st_mtime, content["step"], content["epoch"], config.MODEL_NAME)


def find(folder: str | Path) -> list[Path]:
    """Every checkpoint below ``folder``, by experiment and age."""
    return sorted(Path(folder).rglob("*.pt"), key=lambda path: (path.parent, path.stat().st_mtime))


def age(modified: float) -> str:
    """``3 h`` for a time stamp three hours ago."""
    seconds = max(0.0, time.time() - modified)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__
