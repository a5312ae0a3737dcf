"""Retrieval: is the real clip nearest to a generated one, in pixels, one of the asked caption?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from dataset import TextToSignDataset
from methods.evaluation.scores import Score
from methods.sampling.generate import generate
from methods.sampling.loading import LoadedModel
from methods.sampling.provenance import Request


@dataclass(frozen=True)
class Retrieval:
    """Retrieval of generated clips, and the mean PSNR in dB to the nearest real clip of the asked caption."""

    score: Score
    psnr: float
    clips: list[np.ndarray]  # (F, H, W, 3) uint8, the first of every caption, then the second, ...


def retrieval(
    loaded: LoadedModel, data: TextToSignDataset, indices: list[int], captions: list[str], *, clips_per_caption: int = 1
) -> Retrieval:
    """Generate clips for each caption: is the nearest real clip, in pixels, one of the asked caption?

    More than one clip a caption narrows the interval of guessing; they share a model, so they are not independent.
    """
    config = loaded.config
    requests = [Request(caption, config.SEED, index) for index in range(clips_per_caption) for caption in captions]
    with tqdm(
        total=len(requests) * config.INFERENCE_TIMESTEPS, desc="generating", unit="clip step", dynamic_ncols=True
    ) as bar:
        clips = [clip.frames for clip in generate(loaded, requests, on_step=bar.update)]
    return score_retrieval(clips, [request.prompt for request in requests], data, indices)


def score_retrieval(
    clips: list[np.ndarray], captions: list[str], data: TextToSignDataset, indices: list[int]
) -> Retrieval:
    """``clips`` made for ``captions`` against the real clips ``indices``; chance counts the clips of each caption."""
    real = data.videos(indices).flatten(1)  # (clips, pixels) in [-1, 1]
    texts = [data.texts[index] for index in indices]
    correct, decibels, chance = 0, [], 0.0
    for clip, caption in zip(clips, captions, strict=True):
        made = torch.from_numpy(clip).permute(3, 0, 1, 2).flatten().float() / 127.5 - 1
        errors = (real - made).square().mean(1)
        own = torch.tensor([text == caption for text in texts])
        correct += bool(own[errors.argmin()])
        decibels.append(float(10 * torch.log10(4 / errors[own].min().clamp(min=1e-10))))
        chance += float(own.float().mean()) / len(captions)
    return Retrieval(Score(correct, len(captions), chance), float(np.mean(decibels)), clips)
