"""A trained model in Python, by the names that users of diffusers know. One path with ``python main.py sample``.

    from text2sign import Text2SignPipeline
    pipe = Text2SignPipeline.from_pretrained("exported/demo")  # a folder, a checkpoint, or OWNER/MODEL on the hub
    clips = pipe(["hello"], num_inference_steps=10, generator=torch.Generator().manual_seed(0)).frames

The same request gives the same bits as ``sample --seed 0`` on the same device.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from config import ConfigError
from methods.sampling.generate import GeneratedClip, generate
from methods.sampling.known_captions import Nearness
from methods.sampling.loading import LoadedModel, load_model
from methods.sampling.prompts import gather
from methods.sampling.provenance import Request
from methods.sharing.card import Card
from methods.sharing.export import export
from methods.sharing.hub import fetch
from utils.runtime import resolve_device

Frames = list[list[Image.Image]] | np.ndarray | torch.Tensor


@dataclass(frozen=True)
class Text2SignOutput:
    """``frames`` of every clip; ``clips`` can ``write`` themselves, with all that made them in the file's comment.

    ``nearness``: how far each prompt lies from the training captions; None where the model does not know these.
    """

    frames: Frames
    clips: list[GeneratedClip]
    nearness: list[Nearness] | None


class Text2SignPipeline:
    """Prompts -> clips. ``loaded`` is the model as the commands know it."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self._bar: dict[str, object] = {}

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str], *, device: str | None = None, revision: str | None = None,
        **settings: object,
    ) -> Text2SignPipeline:  # fmt: skip
        """An exported folder, a checkpoint, or OWNER/MODEL on the hub, there in ``revision``.

        ``device``: "cpu", "cuda", "mps"; default: the fastest that is here. ``settings`` as of ``--set``.

        Raises:
            CheckpointError, TextEncoderError, HubError: it cannot be had.
        """
        path = Path(name)
        if device is not None:
            settings["DEVICE"] = str(device)
        return cls(load_model(path if path.exists() else fetch(str(name), revision=revision), settings))

    def save_pretrained(self, folder: str | os.PathLike[str], *, with_encoder: bool = False) -> None:
        """Write it as ``python main.py export`` does, without sample clips; ``from_pretrained`` reads it.

        Raises:
            CheckpointError: something else is at ``folder``, or the model was never saved.
        """
        loaded = self.loaded
        content = {**loaded.stored, "model": loaded.model.state_dict(), "ema": {}}
        export(content, Path(folder), Card(), with_encoder=with_encoder, overwrite=True)

    def to(self, *where: str | torch.device | torch.dtype) -> Text2SignPipeline:
        """Move it to a device; a dtype is that of the backbone's products, weights and the rest stay float32.

        Raises:
            ConfigError: the device is not here, or float16 on a CPU.
        """
        model = self.loaded.model
        for one in where:
            if isinstance(one, torch.dtype):
                model.autocast_dtype = None if one is torch.float32 else one
            else:
                model.to(resolve_device(str(one)) if str(one) in ("cpu", "cuda", "mps") else torch.device(one))
        if model.autocast_dtype is torch.float16 and self.device.type == "cpu":
            raise ConfigError("float16 needs a GPU; this pipeline is on the CPU. Use bfloat16 or float32.")
        return self

    @property
    def device(self) -> torch.device:
        return self.loaded.model.clip_mean.device

    def set_progress_bar_config(self, **options: object) -> None:
        """Of tqdm, as ``disable=True``."""
        self._bar = options

    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        eta: float | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        num_videos_per_prompt: int = 1,
        num_frames: int | None = None,
        output_type: Literal["pil", "np", "pt"] = "pil",
    ) -> Text2SignOutput:
        """Clips of one or several prompts, ``num_videos_per_prompt`` of the first, then of the second, ...

        What is None is as the model's settings say. ``generator``: one for all, or one a prompt. A fresh one stands for
        its seed, as ``sample --seed``; one that was used before gives other clips. None: the model's SEED.
        ``num_frames`` can only be the model's. ``output_type``: "pil" lists of pictures, "np" (B, F, H, W, C) float32
        in [0, 1], "pt" (B, F, C, H, W) likewise.

        Raises:
            ConfigError: no prompt, an empty or too long one, or a setting outside its limits.
        """
        prompts = gather([prompt] if isinstance(prompt, str) else list(prompt), None)
        given = {"INFERENCE_TIMESTEPS": num_inference_steps, "GUIDANCE_SCALE": guidance_scale, "ETA": eta}
        loaded = self.loaded.with_settings(**{key: value for key, value in given.items() if value is not None})
        if num_frames not in (None, loaded.config.NUM_FRAMES):
            raise ConfigError(f"num_frames={num_frames}; this model makes {loaded.config.NUM_FRAMES}.")
        if output_type not in ("pil", "np", "pt"):
            raise ConfigError(f"output_type={output_type!r}; wanted pil, np or pt.")
        if num_videos_per_prompt < 1:
            raise ConfigError(f"num_videos_per_prompt={num_videos_per_prompt}; wanted at least 1.")
        seeds = self._seeds(generator, len(prompts))
        requests = [
            Request(text, seed, index)
            for text, seed in zip(prompts, seeds, strict=True)
            for index in range(num_videos_per_prompt)
        ]
        nearness = self.loaded.nearness(prompts)
        for one in nearness or []:
            if one.is_far:
                print(f"note: {one}", file=sys.stderr)
        total = len(requests) * loaded.config.INFERENCE_TIMESTEPS
        with tqdm(**{"total": total, "desc": "sampling", "unit": "clip step", **self._bar}) as bar:
            clips = generate(loaded, requests, on_step=bar.update)
        return Text2SignOutput(_as_frames(clips, output_type), clips, nearness)

    def _seeds(self, given: torch.Generator | Sequence[torch.Generator] | None, num: int) -> list[int]:
        """One a prompt. A generator is moved on, so that it is fresh no more."""
        if given is None:
            return [self.loaded.config.SEED] * num
        if isinstance(given, torch.Generator):
            return [_seed_of(given)] * num
        if len(given) != num:
            raise ConfigError(f"{len(given)} generators for {num} prompts; wanted one for all, or one each.")
        return [_seed_of(one) for one in given]


def _seed_of(generator: torch.Generator) -> int:
    """Its seed while it is fresh, else the next of its numbers."""
    fresh = torch.Generator(generator.device).manual_seed(generator.initial_seed())
    is_fresh = torch.equal(fresh.get_state(), generator.get_state())
    drawn = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    return generator.initial_seed() if is_fresh else drawn


def _as_frames(clips: list[GeneratedClip], kind: str) -> Frames:
    if kind == "pil":
        return [[Image.fromarray(frame) for frame in clip.frames] for clip in clips]
    stacked = np.stack([clip.frames for clip in clips]).astype(np.float32) / 255
    return torch.from_numpy(stacked).permute(0, 1, 4, 2, 3) if kind == "pt" else stacked
