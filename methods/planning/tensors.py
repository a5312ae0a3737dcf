"""What a training keeps on its device, and its step, on clips and texts of the right shape whose values do not matter.

The step is the training step itself: under FakeTensorMode it is planned with, outside it the plan is measured with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn

from config import Config
from diffusion.text2sign import Text2Sign, create_text2sign, training_noise
from methods.training.optimisation import Ema, make_optimizer
from methods.training.step import FORWARD, Piece, TrainingStep
from methods.training.warm_start import freeze_backbone
from models.encoder_files import EncoderShape
from models.text_features import TextFeatures
from schedulers.training_schedules import ema_decay
from utils import runtime

TRACED_PARTS = 2  # of a step with accumulated gradients; every further one is as the second


class TrainingTensors:
    """Model, optimiser and, where it lives on the same device, the average."""

    def __init__(self, config: Config, model: Text2Sign, *, num_tokens: int, averages_here: bool) -> None:
        """``num_tokens`` of a caption; ``averages_here``: the average lives on the model's device too.

        Raises:
            UserError: the config freezes what cannot be frozen.
        """
        self.config, self.model, self.num_tokens = config, model.train(), num_tokens
        self.device = model.clip_mean.device
        freeze_backbone(self.model, frozen=config.TINYFUSION_FREEZE_BACKBONE)
        self.optimizer = make_optimizer(self.model, config)
        self.ema = Ema(self.model, self.device, decay=config.EMA_DECAY) if averages_here else None
        for p in self.trainable:
            p.grad = torch.zeros_like(p)
        self.optimizer.step()  # makes the moments
        self.optimizer.zero_grad(set_to_none=True)

    @property
    def trainable(self) -> list[nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    @property
    def num_parts(self) -> int:
        """Forward and backward passes of ``step``."""
        return min(self.config.GRADIENT_ACCUMULATION_STEPS, TRACED_PARTS)

    def step(self, enter: Callable[[str], None] = lambda phase: None) -> None:
        """One optimiser step; ``enter`` hears of each phase."""
        step = TrainingStep(self.model, self.optimizer, torch.amp.GradScaler(enabled=False))
        _, norm = step.gradient(self._pieces(enter), enter=enter)
        step.update(norm, limit=self.config.GRADIENT_CLIP)
        if self.ema is not None:
            self.ema.update(self.model, ema_decay(self.config, 1))

    def _pieces(self, enter: Callable[[str], None]) -> Iterator[Piece]:
        """Clips of zeros; what is made here belongs to the forward pass."""
        config, device = self.config, self.device
        num_clips = config.BATCH_SIZE * self.num_parts
        enter(FORWARD)
        noise = training_noise(
            0, 0, num_clips=num_clips, shape=config.INPUT_SHAPE, num_steps=config.TIMESTEPS, caption_dropout=0.1
        )
        for start in range(0, num_clips, config.BATCH_SIZE):
            enter(FORWARD)
            video = torch.zeros(config.BATCH_SIZE, *config.CLIP_SHAPE, device=device)
            part = noise[start : start + config.BATCH_SIZE].to(device)
            text = TextFeatures.blank(config.BATCH_SIZE, self.num_tokens, self.model.text.width, device)
            yield Piece(video, text, part, num_clips=num_clips, motion_weight=config.MOTION_WEIGHT)


def empty_model(config: Config, *, text_width: int, device: torch.device, dtype: torch.dtype | None) -> Text2Sign:
    """The model of the config for texts of ``text_width`` channels, on ``device``; ``dtype`` is autocast's."""
    with torch.device(device):
        model = create_text2sign(config, EncoderShape(text_width, num_bytes=0))
    model.autocast_dtype = dtype
    return model


def sample(model: Text2Sign, config: Config, *, num_clips: int, num_tokens: int) -> None:
    """One denoising step of ``num_clips`` clips; further ones keep one more estimate of the clips, and no more.

    For dpm++ as for ``ddim``, since it asks for values of the schedule, which nothing has here.
    """
    device = model.clip_mean.device
    model.sample(
        TextFeatures.blank(num_clips, num_tokens, model.text.width, device),
        [runtime.generator(index) for index in range(num_clips)],
        num_steps=1,
        sampler="ddpm" if config.SAMPLER == "ddpm" else "ddim",
        eta=config.ETA,
        guidance_scale=config.GUIDANCE_SCALE,
    )
