"""Conditioning by adaptive layer norm: the timestep's embedding, its modulation of tokens, the layer that ends a DiT.

Peebles & Xie 2022, section 3.2. B clips or frames of N tokens of width D. State dict names are the published ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

FREQUENCY_WIDTH = 256  # channels of the sinusoidal timestep features
MAX_PERIOD = 10_000.0  # longest wave length of the timestep features, in units of 2 pi steps
LAYER_NORM_EPS = 1e-6


def timestep_features(t: Tensor) -> Tensor:
    """Sinusoidal features of timesteps, which may be fractional: (B,) -> (B, 256) float32, cosines first.

    Vaswani et al. 2017, section 3.5: frequencies 10000^(-k / 128), k < 128.
    """
    half = FREQUENCY_WIDTH // 2
    exponent = torch.arange(half, dtype=torch.float32, device=t.device) / half
    angle = t.float()[:, None] * torch.exp(-math.log(MAX_PERIOD) * exponent)
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """adaLN (Peebles & Xie 2022, section 3.2): x (B, N, D), shift and scale (B, D) -> (B, N, D)."""
    return x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


class TimestepEmbedder(nn.Module):
    """Timesteps (B,), int or fractional, on the published 0..999 scale -> (B, D)."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(FREQUENCY_WIDTH, hidden_size), nn.SiLU(), nn.Linear(hidden_size, hidden_size)
        )

    def forward(self, t: Tensor) -> Tensor:
        return self.mlp(timestep_features(t).to(self.mlp[0].weight.dtype))


class Modulated(nn.Module):
    """What a block and the final layer share: the map from a conditioning vector to its adaLN parameters."""

    def __init__(self, hidden_size: int, num_parameters: int) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, num_parameters * hidden_size))

    def modulation(self, c: Tensor) -> Tensor:
        """Conditioning c (B, D) -> (B, num_parameters, D)."""
        return self.adaLN_modulation(c).unflatten(1, (self.num_parameters, -1))


class FinalLayer(Modulated):
    """Tokens to pixels. Its modulation is (B, 2, D): shift, scale."""

    def __init__(self, hidden_size: int, patch_size: int, out_channels: int) -> None:
        super().__init__(hidden_size, 2)
        self.norm_final = nn.LayerNorm(hidden_size, elementwise_affine=False, eps=LAYER_NORM_EPS)
        self.linear = nn.Linear(hidden_size, patch_size * patch_size * out_channels)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """Tokens (B, N, D) and ``self.modulation(c)`` (B, 2, D) -> (B, N, patch_size^2 * out_channels)."""
        shift, scale = modulation.unbind(1)
        return self.linear(modulate(self.norm_final(x), shift, scale))
