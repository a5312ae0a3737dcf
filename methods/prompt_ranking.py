"""Prompt ranking: is a real clip's denoising error lowest under its own caption?

It can be perfect while samples are garbage, because text may be used at middle noise and not at the high noise where
sampling begins. So it is also given for each noise level, and ``methods/retrieval.py`` looks at generated clips.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from dataset import TextToSignDataset
from methods.sampler import LoadedModel
from methods.scores import Score
from utils import runtime

NUM_NOISE_LEVELS = 8  # stratified timesteps of the ranking
RANKING_BATCH = 32  # prompts in one forward


@dataclass(frozen=True)
class Ranking:
    """Prompt ranking: all noise levels together, and each ``t`` alone."""

    score: Score
    by_timestep: dict[int, Score]


def noise_levels(num_steps: int, num_levels: int = NUM_NOISE_LEVELS) -> list[int]:
    """The middles of ``num_levels`` equal parts of [0, T)."""
    return [int((k + 0.5) * num_steps / num_levels) for k in range(num_levels)]


def prompt_ranking(
    loaded: LoadedModel,
    data: TextToSignDataset,
    indices: list[int],
    captions: list[str],
    *,
    num_levels: int = NUM_NOISE_LEVELS,
    show_progress: bool = True,
) -> Ranking:
    """For each clip: is the denoising error lowest under its own caption?

    The error is the mean squared error of the x_0 estimate, with the same noise under every caption. A tie counts as
    wrong, so a model that ignores the text scores 0, not 1.
    """
    levels = noise_levels(loaded.config.TIMESTEPS, num_levels)
    bar = tqdm(indices, desc="prompt ranking", unit="clip", dynamic_ncols=True, disable=not show_progress)
    errors = torch.stack(
        [_caption_errors(loaded, data, index, captions, levels) for index in bar]
    )  # (clips, levels, captions)
    asked = torch.tensor([captions.index(data.texts[index]) for index in indices])
    by_timestep = {t: _score(errors[:, k], asked) for k, t in enumerate(levels)}
    return Ranking(_score(errors.mean(1), asked), by_timestep)


def _caption_errors(
    loaded: LoadedModel, data: TextToSignDataset, index: int, captions: list[str], levels: list[int]
) -> Tensor:
    """(levels, captions) denoising errors of one clip."""
    model, device = loaded.model, loaded.model.clip_mean.device
    video = data[index].video[None].to(device)
    draw = runtime.generator(loaded.config.SEED, "ranking", data.names[index])
    rows = []
    for t in levels:
        eps = torch.randn(video.shape, generator=draw).to(device)
        parts = []
        for start in range(0, len(captions), RANKING_BATCH):
            text = loaded.encoder.encode(captions[start : start + RANKING_BATCH]).to(device)
            b = len(text.pooled)
            shape = (b, *video.shape[1:])
            now = torch.full((b,), t, device=device)
            parts.append(model.denoising_error(video.expand(shape), text, eps.expand(shape), now).cpu())
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def _score(errors: Tensor, asked: Tensor) -> Score:
    """``errors`` (clips, captions), ``asked`` (clips,): right where the asked caption is strictly the lowest."""
    own = errors.gather(1, asked[:, None])
    others = errors.scatter(1, asked[:, None], math.inf)
    return Score(int((own[:, 0] < others.min(1).values).sum()), len(errors), 1 / errors.shape[1])
