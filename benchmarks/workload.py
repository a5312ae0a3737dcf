"""A model at the size of a preset, random clips and texts for it, and the step that training takes with them.

No data and no text encoder are needed: features are random, as wide as DistilBERT's. Weights that start at zero get
random values too, since a GPU multiplies zeros faster.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from config import Config, make_config
from diffusion.text2sign import Text2Sign, TrainingNoise, create_text2sign, training_noise
from methods.training.optimisation import Ema, make_optimizer
from models.text_features import TextFeatures
from schedulers.training_schedules import ema_decay
from utils import runtime

TEXT_WIDTH = 768  # channels of DistilBERT's features
NUM_TOKENS = 8  # of a caption, all real
NUDGE = 0.02  # deviation of what would start at zero


class EncoderWidth(NamedTuple):
    """All that ``create_text2sign`` asks of an encoder."""

    width: int = TEXT_WIDTH


@dataclass
class Workload:
    """A model on its device and one batch for it; ``video`` (B, 3, F, H, W) in [-1, 1], ``text`` of B rows."""

    config: Config
    model: Text2Sign
    device: torch.device
    video: Tensor
    text: TextFeatures
    noise: TrainingNoise

    @torch.no_grad()
    def predict(self) -> Tensor:
        """One forward of the batch without gradients, as sampling takes it."""
        return self.model.predict(self.noise.eps, self.noise.t, self.text)

    def loss(self) -> Tensor:
        """The mean loss of the batch, with gradients."""
        return self.model(self.video, self.text, self.noise).mean()

    def train(self) -> None:
        """Forward and backward; the gradients are thrown away."""
        self.loss().backward()
        self.model.zero_grad(set_to_none=True)


def build(config: Config, *, num_clips: int) -> Workload:
    """The model of ``config`` with random weights, in training mode (no layer of ours drops anything)."""
    device, dtype = runtime.prepare(config)
    model = create_text2sign(config, EncoderWidth())
    wake(model)
    model.autocast_dtype = dtype
    noise = training_noise(
        config.SEED, 0, num_clips=num_clips, shape=config.INPUT_SHAPE, num_steps=config.TIMESTEPS, caption_dropout=0.0
    )
    shape = (num_clips, 3, config.NUM_FRAMES, config.IMAGE_SIZE, config.IMAGE_SIZE)
    video = torch.randn(shape, generator=runtime.generator(0, "clips")).clamp(-1, 1)
    if model.autoencoder is not None:
        model.autoencoder.fit([video])
    text = random_text(num_clips, TEXT_WIDTH)
    return Workload(config, model.to(device), device, video.to(device), text.to(device), noise.to(device))


def preset(name: str, **overrides: object) -> Workload:
    """The batch that the preset trains with."""
    config = make_config(name, overrides)
    return build(config, num_clips=config.BATCH_SIZE)


def random_text(num_clips: int, width: int, *, num_tokens: int = NUM_TOKENS) -> TextFeatures:
    """Features of ``num_clips`` captions without padding."""
    draw = runtime.generator(0, "text")
    tokens = torch.randn(num_clips, num_tokens, width, generator=draw)
    return TextFeatures(tokens, torch.ones(num_clips, num_tokens, dtype=torch.bool), tokens.mean(1))


@torch.no_grad()
def wake(model: nn.Module) -> None:
    """Random values for every parameter that is zero throughout, in place."""
    draw = runtime.generator(0, "nudge")
    for parameter in model.parameters():
        if not parameter.any():
            parameter.copy_(NUDGE * torch.randn(parameter.shape, generator=draw))


class TrainingStep:
    """The arithmetic of ``Trainer.train_step`` on one batch: all but reading clips and encoding captions."""

    def __init__(self, work: Workload) -> None:
        self.work = work
        config = work.config
        self.optimizer = make_optimizer(work.model, config)
        average_on = work.device if config.EMA_DEVICE == "model" else torch.device("cpu")
        self.ema = Ema(work.model, average_on, decay=config.EMA_DECAY)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]

    def __call__(self) -> dict[str, float]:
        """Seconds of each part of one step; the average is updated at every one, to be timed."""
        config, seconds = self.work.config, {}

        def mark(name: str) -> None:
            nonlocal start
            runtime.synchronise(self.work.device)
            now = time.perf_counter()
            seconds[name], start = now - start, now

        runtime.synchronise(self.work.device)
        start = time.perf_counter()
        loss = self.work.loss()
        mark("forward")
        loss.backward()
        mark("backward")
        nn.utils.clip_grad_norm_(self.parameters, config.GRADIENT_CLIP)
        mark("clip")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        mark("AdamW")
        self.ema.update(self.work.model, ema_decay(config, 1))
        mark("average")
        return seconds

    def total(self, seconds: dict[str, float]) -> float:
        """Of a step on average: the averaged weights are updated at every EMA_EVERY-th alone."""
        return sum(seconds.values()) - seconds["average"] * (1 - 1 / self.work.config.EMA_EVERY)
