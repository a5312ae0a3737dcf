"""A checkpoint -> an exported folder (``utils/checkpoints/folder.py``) with its card and sample clips.

What tells of this machine stays behind: settings that name its folders, files and device stand at their defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from config import Config, ConfigError
from methods.sampling.generate import generate
from methods.sampling.loading import load_model
from methods.sampling.provenance import Request
from methods.sharing.card import Card, Sample, render
from models.encoder_files import load_encoder
from utils.checkpoints import file as checkpoint
from utils.checkpoints import folder as folders
from utils.checkpoints.file import CheckpointError
from utils.files import write_file

OF_THE_MACHINE = (
    "DEVICE", "DATA_DIR", "SPLIT_FILE", "TINYFUSION_CHECKPOINT", "CHECKPOINT_DIR", "LOG_DIR", "SAMPLE_DIR", "CACHE_DIR",
)  # fmt: skip
SAMPLES = "samples"  # folder of the clips of the card


def portable(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a checkpoint without what only means something on this machine."""
    plain = Config().to_dict()
    return {key: plain[key] if key in OF_THE_MACHINE or is_path(value) else value for key, value in settings.items()}


def is_path(value: object) -> bool:
    """Whether it is text that begins at a root or a home."""
    if not isinstance(value, str):
        return False
    return value.startswith("~") or PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()


def export(
    content: dict[str, Any],
    folder: Path,
    card: Card,
    *,
    with_encoder: bool = False,
    num_samples: int = 0,
    overwrite: bool = False,
    on_step: Callable[[int], object] = lambda num_clips: None,
) -> None:
    """Write ``content``, of a checkpoint or an exported folder, as ``folder``, whole or not at all.

    ``with_encoder`` copies the encoder's files. ``num_samples`` clips of training captions are made with what was
    written and shown on the card; none where no captions were kept.

    Raises:
        CheckpointError: something else is at ``folder``.
        ConfigError: the encoder is a folder of this machine and not copied.
        FileError: the disk refuses.
    """
    stored, source = checkpoint.config_of(content, folder), content["encoder"]["name"]
    if not with_encoder and Path(source).is_dir():
        raise ConfigError(f"TEXT_ENCODER={source} is a folder of this machine. Copy it along: --with_encoder")
    name = folders.ENCODER if with_encoder else source
    shared = {
        **content,
        "config": {**portable(stored.to_dict()), "TEXT_ENCODER": name},
        "encoder": {**content["encoder"], "name": name},
        "origin": {key: value for key, value in content["origin"].items() if not is_path(value)},
    }
    texts = (content.get("captions") or {}).get("texts", [])
    num = min(num_samples, len(texts))

    def finish(partial: Path) -> None:
        if with_encoder:
            for part in load_encoder(source):
                part.save_pretrained(partial / folders.ENCODER)
        captions = [texts[i * len(texts) // num] for i in range(num)]
        samples = _make_samples(partial, captions, name=folder.name, on_step=on_step)
        text = render(card, shared, name=folder.name, samples=samples)
        write_file(partial / "README.md", text.encode())

    folders.write(folder, shared, finish=finish, overwrite=overwrite)


def _make_samples(folder: Path, captions: list[str], *, name: str, on_step: Callable[[int], object]) -> list[Sample]:
    """A GIF of each caption below ``folder``, made with what is exported there; ``name`` is what it calls the model."""
    if not captions:
        return []
    loaded = load_model(folder, {"CLIP_FORMAT": "gif", "CACHE_DIR": ""})
    clips = generate(loaded, [Request(caption, loaded.config.SEED) for caption in captions], on_step=on_step)
    samples = []
    for number, clip in enumerate(clips):
        file = Path(SAMPLES) / f"{number}.gif"
        replace(clip, facts=replace(clip.facts, checkpoint=name)).write(folder / file)
        samples.append(Sample(clip.facts.prompt, file.as_posix()))
    return samples


def load_content(path: Path) -> dict[str, Any]:
    """What ``export`` takes, of a checkpoint or an exported folder.

    Raises:
        CheckpointError: it cannot be read, or its weights are as they were drawn.
    """
    content = folders.load_either(path)
    if content["step"] < 1:
        raise CheckpointError(f"{path} has not been trained: it is at step 0.")
    return content
