"""Which model a checkpoint holds: from its own settings or, where those are lost, from names and shapes of tensors.

What the tensors show is tried out: a model of these settings is built, and its names and shapes must be the file's, all
of them. What leaves no trace in a tensor is never guessed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from config import Config, ConfigError, model_keys
from diffusion.text2sign import ARCHITECTURES
from models.architecture import Shapes, Values
from schedulers.noise_schedulers import NoiseSchedule
from utils.checkpoints import file as checkpoint


def stored_config(path: Path) -> tuple[Config, tuple[str, ...]]:
    """The config of the model in ``path``, and the model keys of it that are not known and stand at their defaults.

    Raises:
        CheckpointError: unreadable, damaged, or of no architecture that this version knows.
    """
    try:
        return checkpoint.config_of(checkpoint.load(path), path), ()
    except checkpoint.CheckpointError as error:
        content = checkpoint.read_plain(path)  # raises if that is what is wrong
        if "config" in content:
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
    """The config whose model has exactly these tensors, and its model keys that leave no trace in them; None if none.

    The keys without a trace stand at their defaults: the weights are the same for any number of frames or steps.
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
            return config, tuple(key for key in model_keys(name) if key not in values)
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
    return {"IMAGE_SIZE": tensors["clip_mean"].shape[-1], **fitted}


def known_keys(config: Config, unknown: tuple[str, ...]) -> tuple[str, ...]:
    """The model keys of ``config`` that may be written into config.py."""
    return tuple(key for key in model_keys(config.MODEL_ARCHITECTURE) if key not in unknown)
