"""What the page may be asked, and its clips: on ``sample``'s own path, so a request gives the same frames there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from config import Config, ConfigError, Limits, check_value
from methods.sampling.generate import GeneratedClip, generate
from methods.sampling.loading import LoadedModel
from methods.sampling.provenance import Request
from utils.lines import text_of
from utils.runtime import enough_memory

MAX_PROMPT = 300  # characters
MAX_CLIPS = 4  # of one request
MAX_STEPS = 100
MAX_GUIDANCE = 10.0
MAX_SEED = 2**31 - 1
SHOWN_SIDE = 256  # px that a clip has at least, each of the model's pixels enlarged to a square


@dataclass(frozen=True)
class Asked:
    """A request within its limits."""

    prompt: str
    num_clips: int
    num_steps: int
    guidance_scale: float
    seed: int


def most_steps(config: Config) -> int:
    """Denoising steps that may be asked for."""
    return min(MAX_STEPS, config.TIMESTEPS)


def checked(
    config: Config, prompt: object, *, num_clips: object, num_steps: object, guidance_scale: object, seed: object
) -> Asked:
    """Whatever a visitor sent -> a request; white space between words counts as one space.

    Raises:
        ConfigError: no prompt, one that is too long, or a number outside its limits.
    """
    text = text_of(str(prompt or "").encode("utf-8", "surrogatepass"), "The prompt", "prompt")
    if not text:
        raise ConfigError("The prompt is empty; wanted some words.")
    if len(text) > MAX_PROMPT:
        raise ConfigError(f"The prompt has {len(text):,} characters; wanted at most {MAX_PROMPT}.")
    return Asked(
        prompt=text,
        num_clips=check_value("clips", num_clips, Annotated[int, Limits(1, MAX_CLIPS)]),
        num_steps=check_value("steps", num_steps, Annotated[int, Limits(1, most_steps(config))]),
        guidance_scale=check_value("guidance", guidance_scale, Annotated[float, Limits(0, MAX_GUIDANCE)]),
        seed=check_value("seed", seed, Annotated[int, Limits(0, MAX_SEED)]),
    )


def answer(
    loaded: LoadedModel, asked: Asked, *, on_step: Callable[[int], object] = lambda num_clips: None
) -> list[GeneratedClip]:
    """The clips, to become MP4 of at least ``SHOWN_SIDE`` px, with facts that name the checkpoint without its folder.

    ``on_step`` is as of ``generate``.

    Raises:
        UserError: a clip is not finite, or the memory does not suffice.
    """
    side = min(loaded.config.INPUT_SHAPE[2:])
    settings = {"SEED": asked.seed, "INFERENCE_TIMESTEPS": asked.num_steps, "GUIDANCE_SCALE": asked.guidance_scale}
    form = {"CLIP_FORMAT": "mp4", "CLIP_SCALE": math.ceil(SHOWN_SIDE / side)}
    requests = [Request(asked.prompt, asked.seed, index) for index in range(asked.num_clips)]
    with enough_memory("Ask for fewer clips."):
        clips = generate(loaded.with_settings(**settings, **form), requests, on_step=on_step)
    return [replace(clip, facts=replace(clip.facts, checkpoint=Path(clip.facts.checkpoint).name)) for clip in clips]
