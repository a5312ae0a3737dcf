"""An exported model: a folder with ``model.safetensors`` and ``config.json``, which ``load`` reads as a checkpoint.

The weights are the averaged ones under the names of ``Text2Sign.state_dict``; the settings are those that decide what
a model is and how it samples, without any place on a machine. Both are read without running code.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from config import VERSION, Config
from utils.checkpoints import file as checkpoint
from utils.checkpoints.file import CheckpointError
from utils.files import replacing, write_file

FORMAT = 1
WEIGHTS, SETTINGS, ENCODER = "model.safetensors", "config.json", "text_encoder"
PLACES = ("DATA_DIR", "SPLIT_FILE", "TINYFUSION_CHECKPOINT", "CHECKPOINT_DIR", "LOG_DIR", "SAMPLE_DIR", "CACHE_DIR")
"""Settings that name files of the machine it was trained on."""
KEPT = ("config", "encoder", "step", "data")  # of a checkpoint


def load(path: Path) -> dict[str, Any]:
    """The fields of a checkpoint that sampling needs, of a checkpoint's file or an exported folder.

    Raises:
        CheckpointError: missing, damaged, or of another version.
    """
    return read_folder(path) if path.is_dir() else checkpoint.load(path)


def write_folder(folder: Path, content: dict[str, Any], *, encoder: Path | None = None) -> None:
    """Write the averaged weights and settings of a checkpoint's ``content``; ``encoder``: a folder to copy as well.

    Raises:
        CheckpointError: the disk refuses.
    """
    settings = {key: value for key, value in content["config"].items() if key not in PLACES}
    name = settings["TEXT_ENCODER"]
    if encoder is not None:
        settings["TEXT_ENCODER"] = ENCODER
    elif Path(name).is_dir():
        settings["TEXT_ENCODER"] = Path(name).name
    facts = {key: content[key] for key in KEPT} | {"config": settings}
    facts["encoder"] = {**facts["encoder"], "name": settings["TEXT_ENCODER"]}
    weights = {name: tensor.contiguous() for name, tensor in averaged(content).items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if encoder is not None:
            shutil.copytree(encoder, folder / ENCODER, dirs_exist_ok=True)
        with replacing(folder / WEIGHTS) as partial:
            save_file(weights, partial, metadata={"format": "pt", "text2sign": VERSION})
        facts = {"format": FORMAT, "text2sign": VERSION, "sha256": sha256_of(folder / WEIGHTS), **facts}
        write_file(folder / SETTINGS, (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode())
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder} cannot be written ({error}). Make room, or name another: --output") from error


def read_folder(folder: Path) -> dict[str, Any]:
    """What ``write_folder`` wrote, as ``load`` has it.

    Raises:
        CheckpointError: no such folder, or a file of it is missing or damaged.
    """
    facts = _facts(folder)
    settings = {**Config().to_dict(), **facts["config"]}
    if settings["TEXT_ENCODER"] == ENCODER:
        settings["TEXT_ENCODER"] = str(folder / ENCODER)
    try:
        sha256 = sha256_of(folder / WEIGHTS)
        if sha256 != facts["sha256"]:
            raise CheckpointError(f"{folder / WEIGHTS} is not the file that {SETTINGS} describes. Get both again.")
        weights = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder / WEIGHTS} cannot be read: {error}. Get it again.") from error
    return {**facts, "config": settings, "model": weights, "ema": {}}


def _facts(folder: Path) -> dict[str, Any]:
    try:
        facts = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        kinds = {
            "format": int,
            "text2sign": str,
            "sha256": str,
            "config": dict,
            "encoder": dict,
            "step": int,
            "data": dict,
        }
        wrong = [key for key, kind in kinds.items() if not isinstance(facts[key], kind)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        wrong = [str(error)]
    if wrong:
        raise CheckpointError(
            f"{folder} is no exported model: {SETTINGS} is missing or incomplete ({', '.join(wrong)}). Wanted a folder "
            "that `python main.py export` wrote, or a checkpoint's file."
        )
    if facts["format"] != FORMAT:
        raise CheckpointError(
            f"{folder} has format {facts['format']}, this version reads {FORMAT}. Use Text2Sign {facts['text2sign']}."
        )
    return facts


def stated_sha256(path: Path) -> str:
    """What a checkpoint or an exported folder says of its own bytes, none of which is read.

    Raises:
        CheckpointError: it cannot be used.
    """
    return _facts(path)["sha256"] if path.is_dir() else checkpoint.load(path, verify=False)["sha256"]


def averaged(content: dict[str, Any]) -> dict[str, Any]:
    """The weights that sampling uses: averages where they were kept, else the last ones."""
    return {**content["model"], **(content["ema"] or {})}


def sha256_of(path: Path) -> str:
    """Of the bytes of a file.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
