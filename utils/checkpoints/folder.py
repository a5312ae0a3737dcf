"""A model as a folder that others can use: weights as safetensors, the rest as JSON. No pickle, so no code in it.

model.safetensors     the averaged weights, and the statistics of clips and texts
config.json           settings, encoder, step, training data, origin, and the SHA-256 of the weights' file
captions.safetensors  features of the training captions, their texts beside them; not where none were kept
text_encoder/         the encoder, where it was copied
README.md             the model card
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from utils.checkpoints import file as checkpoint
from utils.checkpoints.file import CheckpointError
from utils.files import FileError

WEIGHTS, SETTINGS, CAPTIONS, ENCODER = "model.safetensors", "config.json", "captions.safetensors", "text_encoder"
KEY, FORMAT = "text2sign_model", 1
PLAIN: dict[str, type | tuple[type, ...]] = {  # what the JSON has of a checkpoint's fields
    "config": dict, "encoder": dict, "epoch": int, "step": int, "validation_loss": (float, type(None)), "data": dict,
    "origin": dict, "sha256": str,
}  # fmt: skip


def averaged(content: dict[str, Any]) -> dict[str, Tensor]:
    """The weights that samples are made with: the averages where there are any, the model's own state elsewhere."""
    return {**content["model"], **(content["ema"] or {})}


def load_either(path: str | Path, *, verify: bool = True) -> dict[str, Any]:
    """``checkpoint.load`` of a checkpoint or of an exported folder; the latter's "ema" and "optimizer" are empty.

    Raises:
        CheckpointError: neither, or damaged.
    """
    path = Path(path)
    return load(path, verify=verify) if path.is_dir() else checkpoint.load(path, verify=verify)


def load(folder: Path, *, verify: bool = True) -> dict[str, Any]:
    """An exported folder in the shape of a checkpoint, on the CPU; "sha256" is of the checkpoint that it came from.

    Raises:
        CheckpointError: no such folder, damaged, or of another format.
    """
    try:
        plain = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder} is no exported model: its {SETTINGS} cannot be read ({error}).") from error
    if not isinstance(plain, dict) or plain.get(KEY) != FORMAT:
        raise CheckpointError(f"{folder} is no model that this version reads: {KEY} is not {FORMAT} in {SETTINGS}.")
    wrong = [name for name, kind in PLAIN.items() if not isinstance(plain.get(name, ...), kind)]
    if wrong or not isinstance(plain["encoder"].get("name"), str) or "fingerprint" not in plain["encoder"]:
        raise CheckpointError(f"{folder / SETTINGS} lacks {', '.join(wrong) or 'the encoder'}. Export it again.")
    if verify and _sha256(folder / WEIGHTS) != plain.get("weights_sha256"):
        raise CheckpointError(f"{folder / WEIGHTS} has changed since it was exported. Export or download it again.")
    if (folder / ENCODER).is_dir():
        for part, key in (("config", "TEXT_ENCODER"), ("encoder", "name")):
            plain[part][key] = str(folder / ENCODER)
    content = {**{name: plain[name] for name in PLAIN}, "model": _tensors(folder / WEIGHTS), "ema": {}, "optimizer": {}}
    if broken := checkpoint.find_broken(content) if verify else "":
        raise CheckpointError(f"{folder} is of no use: {broken}.")
    return {**content, "captions": _captions(folder / CAPTIONS)}


def write(folder: Path, content: dict[str, Any], *, finish: Callable[[Path], object], overwrite: bool = False) -> None:
    """``content`` as ``load`` reads it; ``finish`` adds its own files to the folder, which then appears as a whole.

    Raises:
        CheckpointError: something is at ``folder`` that is not to be overwritten.
        FileError: the disk refuses; what stood at ``folder`` is untouched.
    """
    _check_free(folder, overwrite=overwrite)
    partial, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{end}") for end in ("partial", "old"))
    try:
        partial.mkdir(parents=True)
        _write_files(partial, content)
        finish(partial)
        if folder.exists():
            os.replace(folder, old)
        os.replace(partial, folder)
    except (OSError, SafetensorError) as error:
        raise FileError(f"{folder} cannot be written: {getattr(error, 'strerror', None) or error}.") from error
    finally:
        for left in (partial, old):
            shutil.rmtree(left, ignore_errors=True)


def _check_free(folder: Path, *, overwrite: bool) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / SETTINGS).is_file():
        raise CheckpointError(f"{folder} is there and no exported model. Give another --output.")
    if not overwrite:
        raise CheckpointError(f"{folder} is there. Add --overwrite to replace it, or give another --output.")


def _write_files(folder: Path, content: dict[str, Any]) -> None:
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in averaged(content).items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    plain = {KEY: FORMAT, **{name: content[name] for name in PLAIN}, "weights_sha256": _sha256(folder / WEIGHTS)}
    (folder / SETTINGS).write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    shutil.copymode(folder / SETTINGS, folder / WEIGHTS)  # safetensors lets nobody else read
    if kept := content.get("captions"):
        save_file({"features": kept["features"]}, folder / CAPTIONS, metadata={"texts": json.dumps(kept["texts"])})


def _captions(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    features = _tensors(path).get("features")
    with safe_open(path, framework="pt") as file:
        texts = json.loads((file.metadata() or {}).get("texts", "[]"))
    if features is None or not isinstance(texts, list) or len(texts) != len(features):
        raise CheckpointError(f"{path} cannot be read: its texts and features do not belong together.")
    return {"texts": texts, "features": features}


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}.") from error


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    return digest.hexdigest()
