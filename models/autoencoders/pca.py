"""AUTOENCODER=pca:K, an autoencoder that is fitted to the training clips in seconds and needs nothing else.

A patch of 8 x 8 px is a vector of 192 numbers. Its latents are its first K principal components over the training
clips (Pearson 1901): of all linear maps to K numbers the one that loses least. All are divided by one number, so that
together they have deviation 1 and an error in latents is in proportion to that in pixels. Each by its own would make
as much of the last component as of the first: behind a token's bottleneck that costs more of the motion than half of
the components would (docs/latents.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from config import PCA_SIDE
from models.autoencoders.contract import Autoencoder
from utils.video import frames_to_batch


class PatchComponents(Autoencoder):
    """``channels`` components of patches; zero until ``fit``. A checkpoint keeps mean, components and scale."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels, self.factor = channels, PCA_SIDE
        size = 3 * PCA_SIDE**2
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("components", torch.zeros(channels, size))  # rows of length 1
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def fit(self, clips: Iterable[Tensor]) -> str:
        """The principal components of all patches of ``clips``; says what they keep."""
        total, products, number = 0.0, 0.0, 0
        for video in clips:
            flat = _patches(frames_to_batch(video)).double()  # (N, 192)
            total, products, number = total + flat.sum(0), products + flat.T @ flat, number + len(flat)
        mean = total / number
        variances, vectors = torch.linalg.eigh(products / number - mean.outer(mean))  # ascending
        chosen = vectors.flip(1)[:, : self.channels].T
        largest = chosen.gather(1, chosen.abs().argmax(1, keepdim=True))
        kept = variances[-self.channels :].sum().clamp(min=0)
        self.mean.copy_(mean)
        self.components.copy_(chosen * largest.sign())  # else they might point either way
        self.scale.copy_((kept / self.channels).sqrt().clamp(min=1e-3))
        lost = max(float(variances.sum() - kept) / len(variances), 1e-12)
        share, decibels = float(kept / variances.sum().clamp(min=1e-12)), 10 * math.log10(4 / lost)
        found = f"{self.channels} principal components of {len(variances)} numbers keep {share:.2%} of the variance"
        return f"{found}, {decibels:.1f} dB PSNR"

    def encode_frames(self, frames: Tensor) -> Tensor:
        """A convolution whose filters are the components."""
        weight = self.components / self.scale
        filters = weight.unflatten(1, (3, PCA_SIDE, PCA_SIDE))
        return functional.conv2d(frames, filters, -weight @ self.mean, stride=PCA_SIDE)

    def decode_frames(self, latents: Tensor) -> Tensor:
        """Sums of components, patch by patch, and the mean."""
        filters = (self.components * self.scale).unflatten(1, (3, PCA_SIDE, PCA_SIDE))
        pixels = functional.conv_transpose2d(latents, filters, stride=PCA_SIDE)
        mean = self.mean.unflatten(0, (3, PCA_SIDE, PCA_SIDE))
        return pixels + mean.repeat(1, latents.shape[2], latents.shape[3])


def _patches(frames: Tensor) -> Tensor:
    """(N, 3, H, W) -> (N H W / 64, 192): within a patch channel, row, column."""
    parts = frames.unfold(2, PCA_SIDE, PCA_SIDE).unfold(3, PCA_SIDE, PCA_SIDE)  # (N, 3, rows, columns, 8, 8)
    return parts.permute(0, 2, 3, 1, 4, 5).flatten(0, 2).flatten(1)
