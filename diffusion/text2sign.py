"""The diffusion process over clips: noise, loss, guidance, the sampling loop; and the assembly of the parts.

A new architecture is one file in ``models/architectures``, one line in ``ARCHITECTURES`` and one word in config's
``Architecture``. Everything here runs in float32; only the backbone runs under autocast.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from config import Config
from diffusion.motion_weight import motion_weights
from diffusion.residual import PATCH, ResidualFilter
from models.architecture import Architecture
from models.architectures import dit3d, tinyfusion, unet3d, vit3d, vivit
from models.autoencoders.build import build_autoencoder
from models.autoencoders.contract import Autoencoder
from models.text_features import TextFeatures, TextStandardiser
from schedulers.noise_schedulers import NoiseSchedule
from schedulers.samplers import SAMPLERS, Step
from utils.runtime import autocast, generator

ARCHITECTURES: dict[str, Architecture] = {  # MODEL_ARCHITECTURE -> the backbone and all that is particular to it
    "tinyfusion": tinyfusion.ARCHITECTURE,
    "vivit": vivit.ARCHITECTURE,
    "vit3d": vit3d.ARCHITECTURE,
    "dit3d": dit3d.ARCHITECTURE,
    "unet3d": unet3d.ARCHITECTURE,
}


@dataclass(frozen=True)
class TrainingNoise:
    """All randomness of one optimiser step: ``eps`` (B, C, F, H, W), ``t`` (B,) int64, ``drop`` (B,) bool."""

    eps: Tensor
    t: Tensor
    drop: Tensor

    def __getitem__(self, rows: slice) -> TrainingNoise:
        return TrainingNoise(self.eps[rows], self.t[rows], self.drop[rows])

    def to(self, device: torch.device) -> TrainingNoise:
        return TrainingNoise(self.eps.to(device), self.t.to(device), self.drop.to(device))


def training_noise(
    seed: int, step: int, *, num_clips: int, shape: tuple[int, ...], num_steps: int, caption_dropout: float
) -> TrainingNoise:
    """The noise of an optimiser step, a pure function of (seed, step), drawn on the CPU.

    Timesteps are stratified: clip i of n draws from the i-th of n equal parts of [0, T), in random order.
    """
    draw = generator(seed, "training noise", step)
    eps = torch.randn(num_clips, *shape, generator=draw)
    strata = torch.randperm(num_clips, generator=draw) + torch.rand(num_clips, generator=draw)
    t = (strata / num_clips * num_steps).long().clamp(max=num_steps - 1)
    return TrainingNoise(eps, t, torch.rand(num_clips, generator=draw) < caption_dropout)


def guide(uncond: Tensor, cond: Tensor, *, guidance_scale: float) -> Tensor:
    """Classifier-free guidance (Ho & Salimans 2022, eq. 6, with guidance_scale = 1 + w).

    Both (B, C, F, H, W) float32. 0 ignores the text, 1 is plain conditioning, > 1 exaggerates it.
    """
    return uncond + guidance_scale * (cond - uncond)


def scale_at(share: float, *, guidance_scale: float, low: float, high: float) -> float:
    """Guidance in a limited interval (Kynkaanniemi et al. 2024): the scale at t = ``share`` * T is ``guidance_scale``
    for ``low`` <= ``share`` < ``high`` and 1, plain conditioning, elsewhere. 0 ignores the text everywhere.
    """
    return guidance_scale if guidance_scale == 0.0 or low <= share < high else 1.0


class Text2Sign(nn.Module):
    """Backbone, noise schedule and the statistics that inputs are standardised with; ``forward`` is the loss.

    The state dict holds the backbone and the statistics, so that a checkpoint is complete but for the frozen encoder.
    """

    def __init__(
        self,
        backbone: nn.Module,
        schedule: NoiseSchedule,
        *,
        prediction_type: str,
        clip_shape: tuple[int, int, int, int],
        text_width: int,
        standardise_clips: bool,
        standardise_text: bool,
        min_snr_gamma: float | None = None,
        autoencoder: Autoencoder | None = None,
    ) -> None:
        """``clip_shape`` (C, F, H, W) of what noise is added to: pixels, or latents of the ``autoencoder``."""
        super().__init__()
        self.backbone = backbone
        self.schedule = schedule
        self.prediction_type = prediction_type
        self.clip_shape = clip_shape
        self.autoencoder = autoencoder
        self.standardise_clips = standardise_clips
        self.min_snr_gamma = min_snr_gamma
        self.autocast_dtype: torch.dtype | None = None
        self.text = TextStandardiser(text_width, enabled=standardise_text)
        c, _, h, w = clip_shape
        self.register_buffer("clip_mean", torch.zeros(c, 1, h, w))
        self.register_buffer("clip_std", torch.ones(()))
        # The other predictions hold x_t in what they stand for.
        side = PATCH if autoencoder is None else 1  # a cell is a square of pixels already
        self.residual = ResidualFilter(clip_shape, side=side) if prediction_type == "sample" else None

    @torch.no_grad()
    def fit_clip_statistics(self, mean: Tensor, std: float) -> None:
        """Mean (C, 1, H, W) at every place and the one deviation around it, of the training clips as ``encode`` has
        them."""
        if self.standardise_clips:
            self.clip_mean.copy_(mean)
            self.clip_std.fill_(max(std, 1e-3))

    def encode(self, video: Tensor) -> Tensor:
        """Clips (B, 3, F, H, W) in [-1, 1] -> the autoencoder's latents of them; as they are where there is none."""
        return video if self.autoencoder is None else self.autoencoder.encode(video)

    def standardise(self, video: Tensor) -> Tensor:
        """Clips (B, 3, F, H, W) in [-1, 1] -> the space that noise is added in, (B, *clip_shape)."""
        return (self.encode(video) - self.clip_mean) / self.clip_std

    def unstandardise(self, x_0: Tensor) -> Tensor:
        """The inverse of ``standardise``, as far as the autoencoder has one."""
        clip = x_0 * self.clip_std + self.clip_mean
        return clip if self.autoencoder is None else self.autoencoder.decode(clip)

    def predict(self, x_t: Tensor, t: Tensor, text: TextFeatures) -> Tensor:
        """The backbone's raw output in float32; the only place under autocast. ``text`` is standardised already."""
        with autocast(x_t.device, self.autocast_dtype):
            prediction = self.backbone(x_t, t, text)
        return prediction.float()

    def noise_and_predict(self, video: Tensor, text: TextFeatures, eps: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        """(x_0, x_t, prediction) of clips in [-1, 1], (B, *clip_shape) each. ``text`` is standardised already."""
        x_0 = self.standardise(video)
        x_t = self.schedule.add_noise(x_0, eps, t)
        return x_0, x_t, self.predict(x_t, t, text)

    @torch.no_grad()
    def denoise(self, video: Tensor, text: TextFeatures, eps: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        """(x_0, x_t, estimate of x_0) of clips in [-1, 1] under raw ``text``: not guided, not clipped."""
        x_0, x_t, prediction = self.noise_and_predict(video, self.text(text), eps, t)
        return x_0, x_t, self.schedule.to_x_0(prediction, x_t, t, prediction_type=self.prediction_type)

    @torch.no_grad()
    def refine(self, estimate: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """``estimate`` of x_0 with what ``x_t`` knows better (``ResidualFilter``), (B, C, F, H, W) each.

        Sampling does without: there x_t lacks what the estimate lacks, and the filter would hand on its noise.
        """
        if self.residual is None:
            return estimate
        noisy = self.schedule.to_x_0(torch.zeros_like(x_t), x_t, t, prediction_type="epsilon")
        return self.residual.refine(estimate, noisy, self.schedule.snr(t))

    def forward(
        self, video: Tensor, text: TextFeatures, noise: TrainingNoise, motion_weight: float = 0.0, counts: bool = True
    ) -> Tensor:
        """Loss of each clip, (B,) float32: the mean squared error of the prediction, weighted by timestep.

        ``video`` (B, 3, F, H, W) in [-1, 1], ``text`` raw encoder features of B rows. Moving pixels weigh
        1 + ``motion_weight`` times as much as others (``motion_weights``). Residuals of clips that do not count, which
        a process computes to keep in step with others, are not met.
        """
        x_0, _, prediction = self.noise_and_predict(video, self.text(text).with_null(noise.drop), noise.eps, noise.t)
        target = self.schedule.target(x_0, noise.eps, noise.t, prediction_type=self.prediction_type)
        squares = (prediction - target).square()
        if motion_weight:
            cell = video.shape[3] // squares.shape[3]
            squares = squares * motion_weights(video, motion_weight, cell=cell)
        loss = squares.flatten(1).mean(1)
        if self.residual is not None and self.training and torch.is_grad_enabled():
            self.residual.meet(target - prediction.detach(), self.schedule.snr(noise.t) * counts)
        if self.min_snr_gamma is None:
            return loss
        weight = self.schedule.min_snr_weight(noise.t, gamma=self.min_snr_gamma, prediction_type=self.prediction_type)
        return loss * weight

    def denoising_error(self, video: Tensor, text: TextFeatures, eps: Tensor, t: Tensor) -> Tensor:
        """Mean squared error of the x_0 estimate for each clip, (B,); no dropout, no weighting."""
        x_0, _, estimate = self.denoise(video, text, eps, t)
        return (estimate - x_0).square().flatten(1).mean(1)

    @torch.no_grad()
    def estimate_x_0(self, x_t: Tensor, t: Tensor, text: TextFeatures, *, guidance_scale: float) -> Tensor:
        """The guided, clipped estimate of the clean clip. ``text`` is standardised already.

        Guidance 0 and 1 need one forward, others two. Clipping is to [-1, 1] in pixels: near the noisy end an epsilon
        error is multiplied by 1 / sqrt(alphas_cumprod), about 1,015 for cosine at T = 50. Latents have no such range.
        """
        everywhere = torch.ones(len(x_t), dtype=torch.bool, device=x_t.device)
        if guidance_scale == 1.0:
            prediction = self.predict(x_t, t, text)
        elif guidance_scale == 0.0:
            prediction = self.predict(x_t, t, text.with_null(everywhere))
        else:
            cond = self.predict(x_t, t, text)
            uncond = self.predict(x_t, t, text.with_null(everywhere))
            prediction = guide(uncond, cond, guidance_scale=guidance_scale)
        x_0 = self.schedule.to_x_0(prediction, x_t, t, prediction_type=self.prediction_type)
        x_0 = x_0.masked_fill(x_0.isinf(), math.nan)  # clipped, it would be a plausible black or white
        return x_0 if self.autoencoder else self.standardise(self.unstandardise(x_0).clamp(-1.0, 1.0))

    @torch.no_grad()
    def sample(
        self,
        text: TextFeatures,
        draws: list[torch.Generator],
        *,
        num_steps: int,
        sampler: str = "ddim",
        eta: float = 0.0,
        guidance_scale: float = 1.0,
        guidance_low: float = 0.0,
        guidance_high: float = 1.0,
        on_step: Callable[[], object] = lambda: None,
    ) -> Tensor:
        """Clips (B, 3, F, H, W) float32 in [-1, 1] for raw ``text`` features of B rows.

        Each clip's noise comes from its own CPU generator in ``draws``, so that its batch and device cannot change it.
        ``sampler`` is a key of ``SAMPLERS``. ``ddim`` with ``eta = 0`` is deterministic, with ``eta = 1`` it has the
        posterior variance of ``ddpm``; ``dpm++`` is deterministic too, needs fewer steps and refuses another eta.
        Guidance acts in the interval of ``scale_at``.
        """
        device = self.clip_mean.device
        standardised = self.text(text.to(device))

        def fresh_noise() -> Tensor:
            return torch.stack([torch.randn(self.clip_shape, generator=draw) for draw in draws]).to(device)

        method = SAMPLERS[sampler]
        x_t, before = fresh_noise(), None
        for t, t_prev in method.pairs(self.schedule, num_steps):
            each = torch.full((len(draws),), t, device=device)
            scale = scale_at(
                t / self.schedule.num_steps, guidance_scale=guidance_scale, low=guidance_low, high=guidance_high
            )
            x_0 = self.estimate_x_0(x_t, each, standardised, guidance_scale=scale)
            step = Step(t=t, t_prev=t_prev, x_t=x_t, x_0=x_0, before=before, eta=eta, draw=fresh_noise)
            x_t, before = method.go(self.schedule, step), (t, x_0)
            on_step()
        return self.unstandardise(x_t)


class HasWidth(Protocol):
    """All that the model needs to know of its text encoder: the channels of its features."""

    @property
    def width(self) -> int: ...


def create_text2sign(config: Config, encoder: HasWidth) -> Text2Sign:
    """The model that the config describes, on the CPU, weights drawn from (SEED, "weights")."""
    schedule = NoiseSchedule(config.NOISE_SCHEDULER, config.TIMESTEPS, noise_shift=config.NOISE_SHIFT)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(config.SEED, "weights").initial_seed())
        build = ARCHITECTURES[config.MODEL_ARCHITECTURE].build
        backbone = build(config, text_width=encoder.width, alphas_cumprod=schedule.exact)
    return Text2Sign(
        backbone,
        schedule,
        prediction_type=config.PREDICTION_TYPE,
        clip_shape=config.INPUT_SHAPE,
        text_width=encoder.width,
        standardise_clips=config.STANDARDISE_CLIPS,
        standardise_text=config.STANDARDISE_TEXT,
        min_snr_gamma=config.MIN_SNR_GAMMA if config.LOSS_WEIGHTING == "min_snr" else None,
        autoencoder=build_autoencoder(config),
    )
