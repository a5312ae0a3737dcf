"""What a training's report may look at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from config import Config
from dataset import TextToSignDataset
from diffusion.text2sign import Text2Sign
from methods.training.optimisation import Ema
from models.text_encoder import TextEncoder


@dataclass(frozen=True)
class Run:
    """The parts of a training, which are to be read only, and where it begins.

    ``training`` and ``validation`` are indices of ``data``; ``outline`` is a model of the same shape for what is
    counted on it, since a sharded one cannot be copied.
    """

    config: Config
    data: TextToSignDataset
    training: list[int]
    validation: list[int]
    encoder: TextEncoder
    model: Text2Sign
    outline: nn.Module
    optimizer: torch.optim.AdamW
    ema: Ema
    first_step: int
    steps_per_epoch: int

    @property
    def device(self) -> torch.device:
        """That of the model."""
        return self.model.clip_mean.device
