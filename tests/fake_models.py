"""Backbones whose obedience is known, for tests of the measures: one ignores the text, one knows the right clip."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from config import make_config
from dataset import TextToSignDataset
from diffusion.text2sign import Text2Sign
from methods.sampling.loading import LoadedModel
from models.text_encoder import TextEncoder
from models.text_features import TextFeatures
from schedulers.noise_schedulers import NoiseSchedule

ALL = list(range(8))


class Blind(nn.Module):
    """Predicts a grey clip whatever the text."""

    def forward(self, x_t: Tensor, t: Tensor, text: TextFeatures) -> Tensor:
        return torch.zeros_like(x_t)


class Seeing(nn.Module):
    """The mean of the real clips given a noisy one, which is the best that can be done whatever the text."""

    def __init__(self, data: TextToSignDataset) -> None:
        super().__init__()
        self.videos, self.kept = data.videos(ALL), NoiseSchedule("cosine", 50).exact.float()

    def forward(self, x_t: Tensor, t: Tensor, text: TextFeatures) -> Tensor:
        kept = self.kept[t][:, None]  # share of the clip's variance
        off = (
            (x_t[:, None] - kept.sqrt()[..., None, None, None, None] * self.videos).square().flatten(2).sum(2)
        )  # (B, 8)
        return torch.einsum("bn,ncfhw->bcfhw", (-off / (2 * (1 - kept))).softmax(1), self.videos)


class Obedient(nn.Module):
    """Predicts the real clip of the caption whose pooled features are nearest."""

    def __init__(self, data: TextToSignDataset, encoder: TextEncoder) -> None:
        super().__init__()
        self.videos, self.pooled = data.videos(ALL), encoder.encode(data.texts).pooled

    def forward(self, x_t: Tensor, t: Tensor, text: TextFeatures) -> Tensor:
        return self.videos[torch.cdist(text.pooled, self.pooled).argmin(1)]


def loaded_with(backbone: nn.Module, encoder: TextEncoder) -> LoadedModel:
    config = make_config("debug", {"GUIDANCE_SCALE": 1.0})
    model = Text2Sign(
        backbone, NoiseSchedule("cosine", 50), prediction_type="sample", clip_shape=config.INPUT_SHAPE,
        text_width=encoder.width, standardise_clips=False, standardise_text=False,
    )  # fmt: skip
    return LoadedModel(model, encoder, config, 1000, Path("none"))  # as if after 1,000 steps
