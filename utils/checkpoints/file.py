"""The checkpoint file: atomic save, safe load, compare. ``utils/checkpoints/listing.py`` says which ones there are.

A checkpoint is one dictionary of tensors and plain JSON types (``FIELDS``), read with ``weights_only=True``, so that
opening a stranger's file runs no code. Whenever the process dies, ``latest_checkpoint.pt`` is a whole file, the
old one or the new (``utils/files.py``).

``load`` reads every byte and vouches for it (``utils/checkpoints/seal.py``) and for every number.
"""

from __future__ import annotations

import os
import pickle
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from config import Config, ConfigError, UserError, differences, from_dict, model_keys
from utils.checkpoints.seal import UNREADABLE, SealedFile, check_bytes, check_structure, stated_sha256
from utils.files import replacing

FORMAT_VERSION = 2
LATEST = "latest_checkpoint.pt"
FIELDS: dict[str, type | tuple[type, ...]] = {
    "format_version": int,
    "config": dict,
    "encoder": dict,
    "epoch": int,  # finished
    "batch": int,  # steps since then
    "step": int,  # optimiser steps since the beginning, bad ones included
    "skipped_steps": int,  # of these, bad ones
    "validation_loss": (float, type(None)),  # of exactly this state; None where it was not measured
    "model": dict,
    "ema": dict,
    "optimizer": dict,
    "scaler": dict,
    "data": dict,
}
OPTIONAL: dict[str, type] = {  # empty in files of earlier versions
    "origin": dict,  # what the weights began from
    "captions": dict,  # texts and features of training captions: methods/sampling/known_captions.py
}
OTHERS = "Use another: python main.py checkpoints"
WHERE = "See what there is: python main.py checkpoints"


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged, foreign, or made for another model."""


def latest_path(config: Config) -> Path:
    """Where the experiment's newest state lives."""
    return Path(config.CHECKPOINT_DIR) / config.EXPERIMENT_NAME / LATEST


def epoch_path(config: Config, epoch: int) -> Path:
    """Where the state after ``epoch`` finished epochs is kept."""
    return latest_path(config).with_name(f"checkpoint_epoch_{epoch:04d}.pt")


# ---- Writing --------------------------------------------------------------------------------------------------------


def save(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` (all of ``FIELDS``, any of ``OPTIONAL``) so that ``path`` is never half a file.

    Raises:
        CheckpointError: NaN or infinity in it, no space, no permission; what stood at ``path`` is untouched.
    """
    optional = {field: content[field] for field in OPTIONAL if field in content}
    content = {**{field: content[field] for field in FIELDS}, **optional}
    broken = find_broken(content)
    if broken:
        raise CheckpointError(
            f"{broken} at step {content['step']:,}: {path} was not written, what stood there is untouched. "
            "Lower LEARNING_RATE or try --set MIXED_PRECISION=no, and go on from before: add --resume"
        )
    with _replacing(path) as partial:
        _check_space(path, content)
        with open(partial, "wb") as file:
            sealed = SealedFile(file)
            torch.save(content, sealed)
            sealed.seal()


def link(source: Path, target: Path) -> None:
    """Give ``source`` a second name, if it has not got it, without writing it again; a copy where links are unknown.

    Raises:
        CheckpointError: as ``save``.
    """
    if target.is_file() and target.samefile(source):
        return
    with _replacing(target) as partial:
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """``files.replacing``, after what killed processes left there is swept; a refusal of the disk in our words."""
    try:
        for left in path.parent.glob(".*.pt.*.partial"):  # the folder is this process's alone: utils/lock.py
            left.unlink()
        with replacing(path) as partial:
            yield partial
    except (OSError, RuntimeError) as error:
        refusal = error if isinstance(error, OSError) else error.__context__  # torch's writer wraps the disk's word
        if not isinstance(refusal, OSError):
            raise
        raise CheckpointError(
            f"{path} cannot be written ({refusal.strerror or refusal}); what stood there is untouched. "
            "Make room, or write elsewhere: --set CHECKPOINT_DIR=FOLDER"
        ) from error


def _check_space(path: Path, content: dict[str, Any]) -> None:
    needed, free = size_bytes(content), shutil.disk_usage(path.parent).free
    if needed > free:
        raise CheckpointError(
            f"{path} needs {needed / 2**30:.2f} GiB, {path.parent} has {free / 2**30:.2f} GiB free; "
            "what stood there is untouched. Make room, keep fewer (KEEP_CHECKPOINTS), or write elsewhere: "
            "--set CHECKPOINT_DIR=FOLDER"
        )


def size_bytes(content: dict[str, Any]) -> int:
    """How large the file of ``content`` will be, rounded up: tensors, and 1 KiB around each of them."""
    storages = [tensor.untyped_storage() for _, tensor in _tensors(content)]
    unique = {(storage.device, storage.data_ptr(), storage.nbytes()): storage.nbytes() for storage in storages}
    return sum(unique.values()) + 1024 * len(storages) + 2**16


# ---- Reading --------------------------------------------------------------------------------------------------------


def load(path: str | Path, *, verify: bool = True) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, executing nothing; beside ``FIELDS`` it has "sha256", which tells weights apart.

    Every byte and every number is checked. Without ``verify`` the tensors stay on disk, so that any size takes
    milliseconds, and a byte that changed in them goes unnoticed.

    Raises:
        CheckpointError: missing, damaged, no checkpoint of ours, of another format, or with NaN or infinity in it.
    """
    path = Path(path)
    content, sha256 = read_plain(path, verify=verify)
    _check_fields(content, path)
    if not sha256:
        raise _damaged(path, "the checksum at its end is missing")
    broken = find_broken(content) if verify else ""
    if broken:
        raise CheckpointError(f"{path} is of no use: {broken}. {OTHERS}")
    return {**{field: {} for field in OPTIONAL}, **content, "sha256": sha256}


def read_plain(path: Path, *, verify: bool = True) -> tuple[Any, str]:
    """Tensors and plain values of a file that need not be a whole checkpoint, and its seal, empty where it has none.

    One that is replaced meanwhile is read again.

    Raises:
        CheckpointError: missing or damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist. {WHERE}")
    try:
        while True:
            sha256 = stated_sha256(path)
            check_structure(path)
            if verify:
                check_bytes(path)
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            if stated_sha256(path) == sha256:
                return content, sha256
    except (*UNREADABLE, pickle.UnpicklingError, LookupError, TypeError, AttributeError) as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise _damaged(path, reason or type(error).__name__) from error


def sha256_at(path: Path, step: int) -> str:
    """The SHA-256 of ``path`` if it holds the state after ``step``, else nothing."""
    try:
        content = load(path, verify=False)
    except CheckpointError:
        return ""
    return content["sha256"] if content["step"] == step else ""


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path} cannot be read as a checkpoint: {reason}. {OTHERS}")


def _check_fields(content: Any, path: Path) -> None:
    """Every field must be there, with its type."""
    if not isinstance(content, dict) or "format_version" not in content:
        raise CheckpointError(f"{path} is no Text2Sign checkpoint (it has no format_version).")
    if content["format_version"] != FORMAT_VERSION:
        found = f"{path} has format {content['format_version']}, this version reads {FORMAT_VERSION}"
        raise CheckpointError(f"{found}. Use the Text2Sign that wrote it.")
    missing = [field for field, kind in FIELDS.items() if not isinstance(content.get(field, ...), kind)]
    if not missing and "MODEL_ARCHITECTURE" not in content["config"]:
        missing = ["the settings of its model"]
    missing += [field for field, kind in OPTIONAL.items() if not isinstance(content.get(field, kind()), kind)]
    if missing:
        found = f"{path} lacks {', '.join(missing)}"
        raise CheckpointError(f"{found}; it was not written by Text2Sign or is damaged. {OTHERS}")


def find_broken(content: dict[str, Any]) -> str:
    """The first tensor of the state that has NaN or infinity in it, in words; empty if all are finite."""
    for name, tensor in _tensors({field: content[field] for field in ("model", "ema", "optimizer")}):
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            return f"{name} claims to be larger than it is"
        if not bool(tensor.isfinite().all()):
            return f"{name} holds NaN or infinity"
    return ""


def _tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """(dotted name, tensor) of all in nested dictionaries and lists."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, (dict, list, tuple)):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _tensors(part, f"{name}.{key}" if name else str(key))


# ---- Comparing ------------------------------------------------------------------------------------------------------


def config_of(content: dict[str, Any], path: Path) -> Config:
    """The config that a checkpoint was trained with.

    Raises:
        CheckpointError: its settings are not ones that this version knows.
    """
    try:
        return from_dict(content["config"])
    except ConfigError as error:
        raise CheckpointError(f"{path} holds settings that this version does not accept: {error}") from error


def same_clips(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether what two checkpoints remember of their training clips names the same ones."""
    return all(one.get(key) == other.get(key) for key in ("num_clips", "digest"))


def check_resumable(path: Path, stored: Config, config: Config) -> list[str]:
    """Lines ``NAME old -> new`` for settings that changed and may.

    Raises:
        CheckpointError: a model key differs.
    """
    changed = differences(config, stored)
    keys = model_keys(stored.MODEL_ARCHITECTURE)
    fixed = {key: values for key, values in changed.items() if key in keys}
    if fixed:
        found = "; ".join(f"{key}={old!r}, the config says {new!r}" for key, (old, new) in fixed.items())
        same = " ".join(f"--set {shlex.quote(f'{key}={old}')}" for key, (old, _) in fixed.items())
        raise CheckpointError(
            f"{path} holds {found}. Resume as it was: {same}; or make config.py fit. "
            f"Run: python main.py fix-config --checkpoint {shlex.quote(str(path))}"
        )
    return [f"{key} {old} -> {new}" for key, (old, new) in changed.items()]
