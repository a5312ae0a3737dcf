"""Which weights a file holds: the SHA-256 that a written clip remembers. It vouches for nothing, ``load`` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from utils.checkpoints.file import CheckpointError, load, peek
from utils.checkpoints.seal import UNSAVED, FileHash, file_hash, seal_of


def load_hashed(path: Path) -> tuple[dict[str, Any], FileHash]:
    """``load``, and the hash of that very file: one that was replaced in between is read again.

    Raises:
        CheckpointError: as ``load``.
    """
    found = hash_of(path) if path.is_file() else UNSAVED  # load says what is wrong with no file
    while True:
        content, before = load(path), found
        found = hash_of(path)
        if found == before:
            return content, found


def hash_of(path: Path) -> FileHash:
    """At once for a sealed file; another one is read whole.

    Raises:
        CheckpointError: missing or unreadable.
    """
    try:
        return file_hash(path)
    except OSError as error:
        reason = error.strerror or error
        hint = "See what there is: python main.py checkpoints"
        raise CheckpointError(f"{path} cannot be read ({reason}). {hint}") from error


def hash_at(path: Path, step: int) -> FileHash:
    """The hash of ``path`` if it holds the state after ``step``, else ``UNSAVED``."""
    try:
        return hash_of(path) if peek(path)["step"] == step else UNSAVED
    except CheckpointError:
        return UNSAVED


def same_beside(path: Path, wanted: FileHash) -> Path | None:
    """Another sealed checkpoint of the folder of ``path`` that holds the weights ``wanted``, if there is one."""
    others = sorted(path.parent.glob("*.pt")) if wanted.of == "seal" else []
    for other in others:
        try:
            if seal_of(other) == wanted:
                return other
        except OSError:
            continue
    return None
