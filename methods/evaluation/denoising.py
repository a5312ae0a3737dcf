"""Does the model denoise? The error of its x_0 estimate by the noise in x_t, beside what needs no network.

Levels are those of LEVELS_DB by signal-to-noise ratio, so that schedules compare, and the one where sampling begins.
Everything is measured where noise is added, under the own captions, without guidance or clipping.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dataset import TextToSignDataset
from diffusion.residual import PATCH, tubelets
from diffusion.text2sign import Text2Sign
from models.text_encoder import TextEncoder
from schedulers.noise_schedulers import NoiseSchedule
from utils import runtime

LEVELS_DB = (22, 16, 10, 4, -2, -8, -14, -20)  # dB of SNR; the nearest timesteps are taken
FITTED = 64  # clips that it is fitted to, at most

Estimates = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  # x_t, x_0, its estimate, eps, its estimate: (B, C, F, H, W)


@dataclass(frozen=True)
class Level:
    """One timestep over all clips: the error of the x_0 estimate, and predicted noise as a population, near N(0, 1)."""

    t: int
    snr: float  # alpha^2 / sigma^2
    x_0_error: float  # mean squared error of the network's x_0 estimate
    refined_error: float  # of the same with what x_t knows better (Text2Sign.refine)
    predicted_mean: float  # of eps_hat over all values
    predicted_std: float

    @property
    def noise_error(self) -> float:
        """Mean squared error of eps_hat, which is linear in the x_0 estimate."""
        return self.snr * self.x_0_error

    @property
    def decibels(self) -> float:
        """The SNR in dB."""
        return 10 * math.log10(self.snr)

    @property
    def doing_nothing(self) -> float:
        """The error of x_t, scaled back: x_t / alpha - x_0 = eps sigma / alpha."""
        return 1 / self.snr


def timesteps(schedule: NoiseSchedule) -> list[int]:
    """The timesteps nearest to LEVELS_DB by SNR, each once, and the last, where sampling begins. Rising."""
    decibels = 10 * schedule.log_snr() / math.log(10)
    nearest = (int((decibels - level).abs().argmin()) for level in LEVELS_DB)
    return sorted({*nearest, schedule.num_steps - 1})


@torch.no_grad()
def measure_levels(
    model: Text2Sign,
    encoder: TextEncoder,
    data: TextToSignDataset,
    rows: list[int],
    *,
    seed: int,
    batch_size: int,
    see_first: Callable[[int, Estimates], object] = lambda t, estimates: None,
) -> list[Level]:
    """Errors over ``timesteps`` of the clips ``rows`` under their captions; a clip's noise is a function of ``seed``.

    ``see_first`` is given the estimates of the first batch at every level.
    """
    levels = []
    for t in timesteps(model.schedule):
        moments = []
        for start in range(0, len(rows), batch_size):
            estimates = _estimate(model, encoder, data, rows[start : start + batch_size], t, seed)
            moments.append(_moments(model, t, *estimates))
            if start == 0:
                see_first(t, estimates)
        levels.append(_level(t, model, torch.cat(moments).cpu().double().mean(0)))
    return levels


def _estimate(
    model: Text2Sign, encoder: TextEncoder, data: TextToSignDataset, rows: list[int], t: int, seed: int
) -> Estimates:
    device, shape = model.clip_mean.device, model.clip_shape
    video = data.videos(rows).to(device)
    draws = (runtime.generator(seed, "validation", data.names[row], t) for row in rows)
    eps = torch.stack([torch.randn(shape, generator=draw) for draw in draws]).to(device)
    now = torch.full((len(rows),), t, device=device)
    text = encoder.encode([data.texts[row] for row in rows]).to(device)
    x_0, x_t, x_0_hat = model.denoise(video, text, eps, now)
    return x_t, x_0, x_0_hat, eps, model.schedule.to_eps(x_0_hat, x_t, now)


def _moments(
    model: Text2Sign, t: int, x_t: Tensor, x_0: Tensor, x_0_hat: Tensor, eps: Tensor, eps_hat: Tensor
) -> Tensor:
    """(B, 4): each clip's error of the x_0 estimate, that of the refined one, mean of eps_hat and of its square."""
    refined = model.refine(x_0_hat, x_t, torch.full((len(x_t),), t, device=x_t.device))
    parts = ((x_0_hat - x_0).square(), (refined - x_0).square(), eps_hat, eps_hat.square())
    return torch.stack([part.flatten(1).mean(1) for part in parts], dim=1)


def _level(t: int, model: Text2Sign, moments: Tensor) -> Level:
    error, refined, mean, square = moments.tolist()
    snr, deviation = float(model.schedule.log_snr()[t].exp()), max(square - mean**2, 0.0) ** 0.5
    return Level(t, snr, error, refined, predicted_mean=mean, predicted_std=deviation)


# ---- Without a network -----------------------------------------------------------------------------------------------


class LinearEstimate:
    """The best estimate of a clip that is linear in each tubelet of its noisy version, fitted to training clips.

    A tubelet is PATCH x PATCH px, or a latent cell, over all frames, alike everywhere in the picture; around the
    ``mean`` clip it is a vector of D numbers with covariance C, eigenvalues lambda_k. The Wiener estimate of x_0 from
    x_t = alpha x_0 + sigma eps is mean + alpha C (alpha^2 C + sigma^2)^-1 (x_t - alpha mean), and its mean squared
    error (1 / D) sum lambda_k / (1 + SNR lambda_k) (Wiener 1949): at most that of the mean clip and of doing nothing.
    It knows how clips look in general; the caption, which it does not know, is what a network can add.
    """

    def __init__(self, model: Text2Sign, data: TextToSignDataset, rows: list[int]) -> None:
        """Fit to at most FITTED of the clips ``rows``."""
        rows = rows[:: -(-len(rows) // FITTED)]
        self._model, self._data = model, data
        self.mean = data.statistics(rows, encode=self._encode)[0]  # (C, 1, H, W)
        side = min(PATCH, *self.mean.shape[2:]) if model.autoencoder is None else 1
        moments, number = 0.0, 0
        for row in rows:
            flat = tubelets(self.around_mean([row]), side=side).flatten(0, 1)
            moments, number = moments + (flat.T @ flat).double(), number + len(flat)
        self._spectrum = torch.linalg.eigvalsh(moments / number).clamp(min=0)  # (D,) float64

    def _encode(self, video: Tensor) -> Tensor:
        return self._model.encode(video.to(self._model.clip_mean.device)).cpu()

    def around_mean(self, rows: list[int]) -> Tensor:
        """Clips less the ``mean``, (B, C, F, H, W), in the units of the space that noise is added in."""
        return (self._encode(self._data.videos(rows)) - self.mean) / float(self._model.clip_std)

    def error(self, snr: float) -> float:
        """Mean squared error at a signal-to-noise ratio; at 0 that of the mean clip."""
        return float((self._spectrum / (1 + snr * self._spectrum)).mean())
