"""Prompts -> clips on disk. ``sample``, ``evaluate`` and the trainer's previews share this one path."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import PIL
import torch

from config import VERSION, Config
from diffusion.text2sign import Text2Sign
from methods.sampling.loading import LoadedModel
from methods.sampling.provenance import Provenance
from models.text_encoder import TextEncoder
from utils import runtime
from utils.gif import write_gif
from utils.video import to_uint8

BATCH_SIZE = 8  # clips at a time


@dataclass(frozen=True)
class Request:
    """One clip to make: the ``index``-th of ``prompt`` under ``seed``. The three alone decide its noise."""

    prompt: str
    seed: int
    index: int = 0

    def noise(self) -> torch.Generator:
        return runtime.generator(self.seed, "sample", self.prompt, self.index)


def generate(
    model: Text2Sign,
    encoder: TextEncoder,
    requests: list[Request],
    *,
    num_steps: int,
    sampler: str = "ddim",
    eta: float = 0.0,
    guidance_scale: float = 1.0,
    batch_size: int = BATCH_SIZE,
    num_tokens: int = 1,
    on_step: Callable[[int], object] = lambda num_clips: None,
) -> list[np.ndarray]:
    """Clips (F, H, W, 3) uint8, one a request, in their order; to rounding, none depends on its neighbours.

    Texts are padded to ``num_tokens`` at least. ``on_step`` hears the number of clips after each denoising step.
    """
    clips: list[np.ndarray] = []
    for start in range(0, len(requests), batch_size):
        batch = requests[start : start + batch_size]
        video = model.sample(
            encoder.encode([request.prompt for request in batch]).padded(num_tokens),
            [request.noise() for request in batch],
            num_steps=num_steps,
            sampler=sampler,
            eta=eta,
            guidance_scale=guidance_scale,
            on_step=partial(on_step, len(batch)),
        )
        clips += [to_uint8(clip.cpu()) for clip in video]
    return clips


def sampling_settings(config: Config) -> dict[str, float | int | str]:
    """The keyword arguments of ``generate`` that the config decides."""
    return {
        "num_steps": config.INFERENCE_TIMESTEPS,
        "sampler": config.SAMPLER,
        "eta": config.ETA,
        "guidance_scale": config.GUIDANCE_SCALE,
    }


def provenances(loaded: LoadedModel, requests: list[Request], *, batch_size: int = BATCH_SIZE) -> list[Provenance]:
    """What decides each clip that ``generate`` makes of the same ``requests`` and ``batch_size``, here and now."""
    found = []
    for start in range(0, len(requests), batch_size):
        batch = requests[start : start + batch_size]
        num_tokens = loaded.encoder.encode([request.prompt for request in batch]).mask.shape[1]
        for place, request in enumerate(batch):
            found.append(facts_of(loaded, request, size=len(batch), place=place, num_tokens=num_tokens))
    return found


def facts_of(
    loaded: LoadedModel, request: Request, *, size: int = 1, place: int = 0, num_tokens: int = 1
) -> Provenance:
    """What decides one clip at a ``place`` of a batch of ``size``; ``num_tokens`` is the batch's longest text."""
    config = loaded.config
    return Provenance(
        prompt=request.prompt,
        seed=request.seed,
        index=request.index,
        checkpoint=path_text(loaded.path),
        checkpoint_sha256=loaded.hash.sha256,
        checkpoint_sha256_of=loaded.hash.of,
        step=loaded.step,
        experiment=config.EXPERIMENT_NAME,
        **sampling_settings(config),
        fps=config.FPS,
        batch_size=size,
        batch_position=place,
        num_tokens=num_tokens,
        frame_chunk_size=config.TINYFUSION_FRAME_CHUNK_SIZE,
        deterministic=config.DETERMINISTIC,
        **environment(loaded.model),
    )


def path_text(path: Path) -> str:
    """A path as it can be written down: the bytes of its name need not be UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")


def environment(model: Text2Sign) -> dict[str, str | int]:
    """``provenance.ENVIRONMENT`` of this process."""
    device = model.clip_mean.device
    return {
        "device": device.type,
        "hardware": runtime.hardware(device),
        "precision": str(model.autocast_dtype or torch.float32).removeprefix("torch."),
        "num_threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "transformers": importlib.metadata.version("transformers"),
        "pillow": PIL.__version__,
        "version": VERSION,
    }


def write_clips(folder: Path, clips: list[np.ndarray], facts: list[Provenance]) -> list[Path]:
    """One GIF a clip; its name tells what it shows, its comment everything that decided its bits."""
    paths = [folder / file_name(fact) for fact in facts]
    for path, clip, fact in zip(paths, clips, facts, strict=True):
        write_gif(path, clip, fps=fact.fps, comment=fact.to_json())
    return paths


def file_name(facts: Provenance) -> str:
    """Prompt, step, settings, seed and number: clips that differ in any of them lie side by side."""
    sampler = f"eta{facts.eta:g}" if facts.sampler == "ddim" else facts.sampler  # only ddim knows ETA
    settings = f"step{facts.step:06d}_{facts.num_steps}x{sampler}_guide{facts.guidance_scale:g}"
    return f"{file_stem(facts.prompt)}_{settings}_seed{facts.seed}_{facts.index:02d}.gif"


def file_stem(prompt: str) -> str:
    """A prompt as a file name: readable, ASCII, and distinct for prompts that differ only in what was dropped or in
    case, since not every file system tells capitals apart. With 12 digits, 100,000 such prompts stay distinct."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", prompt).strip("-")[:60] or "prompt"
    plain = words.replace("-", " ") == prompt == prompt.lower()
    return words if plain else f"{words}-{hashlib.sha256(prompt.encode()).hexdigest()[:12]}"
