"""What a network's estimate of a clip still lacks, taken from x_t where x_t knows it better.

The estimate D = x_0 - r has a residual r, and x_t / alpha = x_0 + n has noise of variance 1 / SNR. Where r and n are
independent, the best linear estimate from both is D + C (C + I / SNR)^-1 (x_t / alpha - D), with C the covariance of r
(Wiener 1949; the gain of a Kalman filter): D itself in noise, x_t where there is none. C is that of tubelets of PATCH x
PATCH px over all frames, alike everywhere in the picture, as training meets them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from utils.process_group import add

PATCH = 4  # px, side of a tubelet
MIN_SNR = 0.1  # residuals at more noise than this say nothing of where x_t can help
HORIZON = 256  # clips over which the covariance is averaged


def tubelets(video: Tensor, *, side: int) -> Tensor:
    """(B, C, F, H, W) -> (B, N, C * F * side * side): the squares of ``side`` px that fill the picture, over time."""
    parts = video.unfold(3, side, side).unfold(4, side, side)  # (B, C, F, rows, columns, side, side)
    return parts.permute(0, 3, 4, 1, 2, 5, 6).flatten(1, 2).flatten(2)


def from_tubelets(flat: Tensor, *, shape: tuple[int, ...]) -> Tensor:
    """The inverse of ``tubelets``; ``shape`` (C, F, H, W) of a clip whose sides the tubelets fill."""
    c, f, h, w = shape
    side = round((flat.shape[2] / (c * f)) ** 0.5)
    parts = flat.unflatten(2, (c, f, side, side)).unflatten(1, (h // side, w // side))
    return parts.permute(0, 3, 4, 1, 5, 2, 6).reshape(len(flat), c, f, h, w)


class ResidualFilter(nn.Module):
    """The covariance of the residual, and the estimate that follows from it. Before anything is met: D itself."""

    def __init__(self, clip_shape: tuple[int, int, int, int], *, side: int = PATCH) -> None:
        """``side`` of a tubelet, where the clip's sides are multiples of it; else 1."""
        super().__init__()
        c, f, h, w = clip_shape
        self.clip_shape = clip_shape
        self.side = side if h % side == 0 and w % side == 0 else 1
        size = c * f * self.side**2
        self.register_buffer("covariance", torch.zeros(size, size))
        self.register_buffer("num_clips", torch.zeros(()))
        self._spectrum: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def meet(self, residual: Tensor, snr: Tensor) -> None:
        """Average over the residuals x_0 - D (B, C, F, H, W) of the clips whose ``snr`` (B,) is at least MIN_SNR.

        Those of all processes, each of which must call it.
        """
        chosen = ((snr >= MIN_SNR) & residual.flatten(1).isfinite().all(1)).float()  # (B,)
        flat = tubelets(residual.nan_to_num() * chosen[:, None, None, None, None], side=self.side)  # (B, N, D)
        low = flat.flatten(0, 1).to(torch.bfloat16)  # hundreds of products are averaged
        products, num_chosen = add((low.T @ low).float()), add(chosen.sum())
        self.num_clips += num_chosen
        mean = products / (flat.shape[1] * num_chosen.clamp(min=1))
        self.covariance.lerp_(mean, num_chosen / self.num_clips.clamp(1, HORIZON))
        self._spectrum = None

    @torch.no_grad()
    def refine(self, estimate: Tensor, noisy: Tensor, snr: Tensor) -> Tensor:
        """The best of ``estimate`` D and ``noisy`` x_t / alpha, (B, C, F, H, W) each; ``snr`` (B,) of the latter."""
        values, vectors = self._eigen()
        gain = values / (values + 1 / snr.float()[:, None, None])  # (B, 1, D)
        lacking = tubelets(noisy - estimate, side=self.side) @ vectors  # (B, N, D)
        return estimate + from_tubelets((lacking * gain) @ vectors.T, shape=self.clip_shape)

    def _eigen(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues (D,) and vectors (D, D) of the covariance; taken on the host, for not every device can."""
        if self._spectrum is None:
            values, vectors = torch.linalg.eigh(self.covariance.cpu().double())
            device = self.covariance.device
            self._spectrum = values.clamp(min=0).float().to(device), vectors.float().to(device)
        return self._spectrum

    def _load_from_state_dict(self, state: dict, prefix: str, *args: object) -> None:
        """A checkpoint of before this filter has met nothing."""
        for name, buffer in self.named_buffers():
            state.setdefault(prefix + name, torch.zeros_like(buffer, device="cpu"))
        super()._load_from_state_dict(state, prefix, *args)
        self._spectrum = None

    def _apply(self, fn, recurse: bool = True):
        self._spectrum = None
        return super()._apply(fn, recurse)
