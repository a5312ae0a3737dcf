"""Noise schedules: tables, add_noise, conversions between predictions, DDIM steps, of which DDPM's are a case.

Tables are made in float64 and used in float32. Steps are explicit ``(t, t_prev)`` pairs; ``t_prev = -1`` is the clean
clip. Papers: Ho et al. 2020 (DDPM), Song et al. 2021 (DDIM), Nichol & Dhariwal 2021 (cosine), Salimans & Ho 2022 (v),
Hang et al. 2023 (min-SNR), Hoogeboom et al. 2023 (log-SNR shift).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def cosine_alphas_cumprod(num_steps: int) -> Tensor:
    """Nichol & Dhariwal 2021, eq. 17, with beta at most 0.999. (T,) float64."""
    edges = torch.arange(num_steps + 1, dtype=torch.float64) / num_steps
    f = torch.cos((edges + 0.008) / 1.008 * math.pi / 2) ** 2
    betas = (1 - f[1:] / f[:-1]).clamp(max=0.999)
    return torch.cumprod(1 - betas, dim=0)


def linear_alphas_cumprod(num_steps: int) -> Tensor:
    """Ho et al. 2020, section 4: betas from 1e-4 to 0.02 at 1,000 steps, scaled by 1000 / T. (T,) float64."""
    scale = 1000 / num_steps
    betas = torch.linspace(1e-4 * scale, min(0.02 * scale, 0.999), num_steps, dtype=torch.float64)
    return torch.cumprod(1 - betas, dim=0)


def shift_noise(alphas_cumprod: Tensor, noise_shift: float) -> Tensor:
    """Multiply sigma / alpha by ``noise_shift``: log-SNR falls by 2 ln(shift) (Hoogeboom et al. 2023, eq. 4)."""
    return alphas_cumprod / (alphas_cumprod + noise_shift**2 * (1 - alphas_cumprod))


def log_snr(alphas_cumprod: Tensor) -> Tensor:
    """ln(alpha^2 / sigma^2) (Kingma et al. 2021, section 3.1)."""
    return torch.log(alphas_cumprod) - torch.log1p(-alphas_cumprod)


ALPHAS_CUMPROD = {"cosine": cosine_alphas_cumprod, "linear": linear_alphas_cumprod}


def timestep_pairs(num_train_steps: int, num_inference_steps: int) -> list[tuple[int, int]]:
    """Trailing spacing: ``[(T - 1, t), ..., (t, -1)]``, so that sampling always begins at the noisiest step.

    Raises:
        ValueError: more inference than training steps, or none.
    """
    check_num_steps(num_train_steps, num_inference_steps)
    stride = num_train_steps / num_inference_steps
    return in_pairs([round(num_train_steps - i * stride) - 1 for i in range(num_inference_steps)])


def check_num_steps(num_train_steps: int, num_inference_steps: int) -> None:
    """Raises:
    ValueError: more inference than training steps, or none.
    """
    if not 1 <= num_inference_steps <= num_train_steps:
        raise ValueError(f"{num_inference_steps} inference steps; wanted 1 to {num_train_steps}.")


def in_pairs(steps: list[int]) -> list[tuple[int, int]]:
    """Falling timesteps -> each with the next, the last with the clean end: ``[9, 4]`` -> ``[(9, 4), (4, -1)]``."""
    return list(zip(steps, [*steps[1:], -1], strict=True))


class NoiseSchedule(torch.nn.Module):
    """q(x_t | x_0) = N(sqrt(alphas_cumprod[t]) x_0, 1 - alphas_cumprod[t]) for t in [0, T).

    ``x`` is (B, ...) float32 throughout, ``t`` (B,) int64. The table is no part of the state dict: it follows from the
    config.
    """

    def __init__(self, name: str, num_steps: int, *, noise_shift: float = 1.0) -> None:
        super().__init__()
        alphas_cumprod = shift_noise(ALPHAS_CUMPROD[name](num_steps), noise_shift)
        self.num_steps = num_steps
        self.exact = alphas_cumprod  # (T,) float64, on the CPU
        # Index T holds the clean end, so that t_prev = -1 addresses it.
        padded = torch.cat([alphas_cumprod, torch.ones(1, dtype=torch.float64)])
        self.register_buffer("alpha", padded.sqrt().float(), persistent=False)  # (T + 1,)
        self.register_buffer("sigma", (1 - padded).sqrt().float(), persistent=False)  # (T + 1,)

    def log_snr(self) -> Tensor:
        """ln(alpha^2 / sigma^2), (T,) float64, falling."""
        return log_snr(self.exact)

    def snr(self, t: Tensor) -> Tensor:
        """alpha^2 / sigma^2 of each timestep, (B,)."""
        return (self.alpha[t] / self.sigma[t]) ** 2

    def _at(self, table: Tensor, t: Tensor, like: Tensor) -> Tensor:
        return table[t].view(-1, *[1] * (like.dim() - 1))

    def add_noise(self, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t = alpha x_0 + sigma eps (Ho et al. 2020, eq. 4)."""
        return self._at(self.alpha, t, x_0) * x_0 + self._at(self.sigma, t, x_0) * eps

    def target(self, x_0: Tensor, eps: Tensor, t: Tensor, *, prediction_type: str) -> Tensor:
        """What the backbone should output: eps, x_0, or v = alpha eps - sigma x_0 (Salimans & Ho 2022, section 4)."""
        if prediction_type == "v_prediction":
            return self._at(self.alpha, t, x_0) * eps - self._at(self.sigma, t, x_0) * x_0
        return {"epsilon": eps, "sample": x_0}[prediction_type]

    def to_x_0(self, prediction: Tensor, x_t: Tensor, t: Tensor, *, prediction_type: str) -> Tensor:
        """The clean clip that a prediction at ``x_t`` stands for."""
        alpha, sigma = self._at(self.alpha, t, x_t), self._at(self.sigma, t, x_t)
        if prediction_type == "epsilon":
            return (x_t - sigma * prediction) / alpha
        if prediction_type == "v_prediction":
            return alpha * x_t - sigma * prediction
        return prediction

    def to_eps(self, x_0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The noise that lies between ``x_0`` and ``x_t``; re-derived, so that a clipped x_0 stays consistent."""
        return (x_t - self._at(self.alpha, t, x_t) * x_0) / self._at(self.sigma, t, x_t)

    def min_snr_weight(self, t: Tensor, *, gamma: float, prediction_type: str) -> Tensor:
        """min(SNR, gamma) as a weight of the x_0 error (Hang et al. 2023, section 3.4), over the type's own. (B,)."""
        snr = self.snr(t)
        own = {"epsilon": snr, "v_prediction": snr + 1, "sample": torch.ones_like(snr)}[prediction_type]
        return snr.clamp(max=gamma) / own

    def ddim_step(self, x_t: Tensor, x_0: Tensor, t: Tensor, t_prev: Tensor, *, eta: float, noise: Tensor) -> Tensor:
        """Song et al. 2021, eq. 12 with the sigma of eq. 16; ``noise`` is used only where eta > 0.

        With eta = 1 a draw from q(x_prev | x_t, x_0) (Ho et al. 2020, eq. 6-7), for any t_prev < t.

        With sigma_t^2 = beta + (step_alpha sigma_prev)^2, what eq. 12 subtracts under the root is an average of two
        squares, of weights 1 - eta^2 and eta^2: so written, nothing cancels in float32.
        """
        alpha_prev, sigma_prev = self._at(self.alpha, t_prev, x_t), self._at(self.sigma, t_prev, x_t)
        kept = self._at(self.alpha, t, x_t) / alpha_prev * sigma_prev / self._at(self.sigma, t, x_t)  # at most 1
        direction = sigma_prev * ((1 - eta**2) + (eta * kept) ** 2).sqrt() * self.to_eps(x_0, x_t, t)
        return alpha_prev * x_0 + direction + eta * self._posterior_deviation(t, t_prev, x_t) * noise

    def _posterior_deviation(self, t: Tensor, t_prev: Tensor, like: Tensor) -> Tensor:
        """sqrt of beta-tilde (Ho et al. 2020, eq. 7); zero at the clean end."""
        sigma, sigma_prev = self._at(self.sigma, t, like), self._at(self.sigma, t_prev, like)
        return sigma_prev / sigma * self._step_beta(t, t_prev, like).sqrt()

    def _step_beta(self, t: Tensor, t_prev: Tensor, like: Tensor) -> Tensor:
        """The paper's beta_t, over the whole step: 1 - step_alpha^2, which cancels in float32 where sigma is small.

        Written as what the step adds to the variance, it is off by float32's rounding of sigma^2 alone.
        """
        step_alpha = self._at(self.alpha, t, like) / self._at(self.alpha, t_prev, like)
        sigma, sigma_prev = self._at(self.sigma, t, like), self._at(self.sigma, t_prev, like)
        return (sigma**2 - (step_alpha * sigma_prev) ** 2).clamp(min=0)
