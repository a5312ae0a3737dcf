"""config.py made to fit the model in a checkpoint: which model that is, and the literals that change.

The model is known from the checkpoint's own settings or, where those are lost, from names and shapes of its tensors.
What they show is tried out: a model of these settings is built, and its names and shapes must be the file's, all of
them. What leaves no trace in a tensor is never guessed. In config.py only the values of the named settings change;
comments and layout survive.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import itertools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from config import PCA_SIDE, Config, ConfigError, from_dict, model_keys
from diffusion.text2sign import ARCHITECTURES
from models.architecture import Shapes, Values
from schedulers.noise_schedulers import NoiseSchedule
from utils.checkpoints import file as checkpoint
from utils.checkpoints import folder
from utils.files import write_file

# ---- The model of a checkpoint --------------------------------------------------------------------------------------


def stored_config(path: Path) -> tuple[Config, tuple[str, ...]]:
    """The config of the model in ``path``, and the model keys of it that are known; others stand at their defaults.

    Raises:
        CheckpointError: unreadable, damaged, or of no architecture that this version knows.
    """
    try:
        config = checkpoint.config_of(folder.load_either(path), path)
        return config, model_keys(config.MODEL_ARCHITECTURE)
    except checkpoint.CheckpointError as error:
        if path.is_dir():
            raise
        content, _ = checkpoint.read_plain(path)  # raises if that is what is wrong
        if not isinstance(content, dict) or "config" in content:
            raise
        tables = [content[key] for key in ("model", "ema") if isinstance(content.get(key), dict)] or [content]
        tensors = {name: value for table in tables for name, value in table.items() if isinstance(value, Tensor)}
        found = recognise(tensors)
        if found is None:
            raise checkpoint.CheckpointError(
                f"{path} has lost its settings, and its {len(tensors)} tensors are those of no model that this version "
                "builds. Set the model keys of config.py by hand, or use another: python main.py checkpoints"
            ) from error
        return found


def recognise(tensors: Mapping[str, Tensor]) -> tuple[Config, tuple[str, ...]] | None:
    """The config whose model has exactly these tensors, and its model keys that they show; None if none.

    The others stand at their defaults: the weights are the same for any number of frames or steps.
    """
    shapes = {name.removeprefix("backbone."): tuple(t.shape) for name, t in tensors.items() if "backbone." in name}
    for name, architecture in ARCHITECTURES.items():
        try:
            values = {"MODEL_ARCHITECTURE": name, **architecture.read(shapes), **_statistics(tensors)}
            # Any number of whole tubelets will do: no tensor depends on it.
            frames = 2 * values.get("TUBELET_FRAMES", 1)
            config = dataclasses.replace(Config(), **values, NUM_FRAMES=frames)
        except (KeyError, ValueError, ConfigError):  # another architecture's tensors
            continue
        if _shapes_of(config, tensors["text.pooled_mean"].shape[0]) == shapes:
            return config, tuple(values)
    return None


def _shapes_of(config: Config, text_width: int) -> Shapes:
    schedule = NoiseSchedule(config.NOISE_SCHEDULER, config.TIMESTEPS)
    build = ARCHITECTURES[config.MODEL_ARCHITECTURE].build
    with torch.random.fork_rng(devices=[]):
        backbone = build(config, text_width=text_width, alphas_cumprod=schedule.exact)
    return {name: tuple(tensor.shape) for name, tensor in backbone.state_dict().items()}


def _statistics(tensors: Mapping[str, Tensor]) -> Values:
    """Statistics that were never fitted are exactly 0 and 1."""
    fitted = {
        key: bool(tensors[mean].any()) or bool((tensors[std] != 1).any())
        for key, mean, std in (
            ("STANDARDISE_CLIPS", "clip_mean", "clip_std"),
            ("STANDARDISE_TEXT", "text.pooled_mean", "text.pooled_std"),
        )
    }
    channels, *_, side = tensors["clip_mean"].shape
    unread = {"LATENT_CHANNELS": Config.LATENT_CHANNELS, "LATENT_FACTOR": Config.LATENT_FACTOR}  # of other autoencoders
    if "autoencoder.components" in tensors:
        return {"IMAGE_SIZE": side * PCA_SIDE, "AUTOENCODER": f"pca:{channels}", **unread, **fitted}
    return {"IMAGE_SIZE": side, "AUTOENCODER": "", **unread, **fitted}


# ---- The literals of config.py -----------------------------------------------------------------------------------


def read_source(path: Path) -> str:
    """The text of a config file.

    Raises:
        ConfigError: missing, or no Python in UTF-8.
    """
    try:
        source = path.read_text(encoding="utf-8")
        ast.parse(source)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); wanted a config.py: --file PATH") from error
    except (SyntaxError, ValueError) as error:
        line = f" line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ConfigError(f"{path}{line} is no valid Python; mend it, or name another: --file PATH") from error
    return source


def fit(source: str, stored: Config, keys: tuple[str, ...]) -> str:
    """``source`` with the defaults of ``keys`` as in ``stored``, and INFERENCE_TIMESTEPS where it would be too many.

    Raises:
        ConfigError: no literal default of such a name, or the defaults would not be a valid config together.
    """
    nodes, lines = _default_literals(source), source.splitlines(keepends=True)
    missing = sorted(set(keys) - set(nodes))
    if missing:
        raise ConfigError(f"config.py declares no literal default for {', '.join(missing)}; nothing was changed.")
    values = {name: ast.literal_eval(node) for name, node in nodes.items()}
    fitted = {**values, **{key: getattr(stored, key) for key in keys}}
    if "TIMESTEPS" in keys and fitted.get("INFERENCE_TIMESTEPS", 0) > stored.TIMESTEPS:
        fitted["INFERENCE_TIMESTEPS"] = stored.INFERENCE_TIMESTEPS
    try:
        from_dict(fitted)
    except ConfigError as error:
        raise ConfigError(
            f"With the checkpoint's model, config.py would not be valid: {error} Nothing was changed."
        ) from error
    for name, node in nodes.items():
        if fitted[name] != values[name]:
            line = lines[node.lineno - 1].encode()  # ast counts columns in bytes
            replaced = line[: node.col_offset] + _literal(fitted[name]).encode() + line[node.end_col_offset :]
            lines[node.lineno - 1] = replaced.decode()
    return "".join(lines)


def unified_diff(old: str, new: str, name: str) -> str:
    """What changes, as ``diff -u`` shows it; empty if nothing does."""
    return "".join(difflib.unified_diff(old.splitlines(True), new.splitlines(True), name, f"{name} (fixed)"))


def replace_file(path: Path, text: str) -> Path:
    """Write ``text`` to ``path`` in one step, after a copy of what stood there; returns the copy's path."""
    names = (path.with_name(f"{path.name}.bak-{number}") for number in itertools.count(1))
    backup = next(name for name in names if not name.exists())
    shutil.copy2(path, backup)
    write_file(path, text.encode())
    return backup


def _default_literals(source: str) -> dict[str, ast.expr]:
    """Name -> node of the value, for one-line literal defaults of the class ``Config``."""
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == "Config"]
    found = {}
    for node in classes[0].body if classes else []:
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Constant):
            found[ast.unparse(node.target)] = node.value
    return found


def _literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) and '"' not in value and "\\" not in value else repr(value)
