"""Adapters that our architectures share: conditioning, text cross-attention, attention and convolution over time.

Layers receive plain values; shapes stand beside every line. D is the width of the backbone, R that of an adapter.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.layers.attention import attend
from models.layers.modulation import TimestepEmbedder
from models.layers.positions import fitted_frames
from models.layers.vit import self_attention
from models.text_features import TextFeatures


def zero(layer: nn.Linear | nn.Conv3d) -> None:
    """Make a layer start at zero, so that the branch which it ends is silent at first."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def xavier(module: nn.Module) -> None:
    """Linear layers as in ViT, in place: Xavier-uniform weights, zero biases."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


def maybe_checkpoint(function: nn.Module, *inputs: Tensor, enabled: bool) -> Tensor:
    """``function(*inputs)``, recomputed in the backward pass if ``enabled``; the numbers are the same."""
    if enabled and torch.is_grad_enabled():
        from torch.utils.checkpoint import checkpoint  # brings torch's compiler

        return checkpoint(function, *inputs, use_reentrant=False)
    return function(*inputs)


class CrossAttention(nn.Module):
    """Queries from video tokens, keys and values from text tokens; padding is never looked at."""

    def __init__(self, width: int, num_heads: int, *, text_width: int | None = None) -> None:
        """``text_width``: channels of a text token, if not ``width``."""
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(text_width or width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """x (B, N, R), text (B, L, text_width), mask (B, L) bool -> (B, N, R)."""
        heads = (self.num_heads, x.shape[2] // self.num_heads)
        q = self.q(x).unflatten(2, heads).transpose(1, 2)  # (B, heads, N, R / heads)
        k, v = (part.unflatten(2, heads).transpose(1, 2) for part in self.kv(text).chunk(2, dim=2))
        out = attend(q, k, v, mask[:, None, None, :])
        return self.proj(out.transpose(1, 2).flatten(2))  # (B, N, R)


class TextAttention(nn.Module):
    """A residual look at the text tokens; the identity at the start."""

    def __init__(self, width: int, num_heads: int, *, text_width: int | None = None) -> None:
        """``text_width``: channels of a text token, if not ``width``."""
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.cross = CrossAttention(width, num_heads, text_width=text_width)
        zero(self.cross.proj)

    def forward(self, x: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """x (B, N, D), text (B, L, text_width), mask (B, L) bool -> (B, N, D)."""
        return x + self.cross(self.norm(x), text, mask)


class SpaceTimeAdapter(nn.Module):
    """A slim residual beside a spatial block: every position looks through time, then at the text tokens.

    Down to R channels, temporal self-attention over all F frames at each of the N positions, cross-attention to the
    text, up again through a layer that starts at zero: at first the adapter is the identity.
    """

    def __init__(self, width: int, adapter_width: int, *, num_heads: int, num_frames: int, positions: Tensor) -> None:
        """``positions`` (N, R): a fixed code of where a token lies, which the backbone's own may say too faintly.

        Its code of when, over ``num_frames``, is made here: an image transformer knows no frames.
        """
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.down = nn.Linear(width, adapter_width)
        self.norm_time = nn.LayerNorm(adapter_width, eps=1e-6)
        self.temporal = self_attention(adapter_width, num_heads)
        self.norm_text = nn.LayerNorm(adapter_width, eps=1e-6)
        self.cross = CrossAttention(adapter_width, num_heads)
        self.up = nn.Linear(adapter_width, width)
        place = fitted_frames(num_frames, adapter_width)[:, None] + positions  # (F, N, R)
        self.register_buffer("place", place, persistent=False)
        zero(self.up)

    def forward(self, x: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """x (B, F, N, D), text (B, L, R), mask (B, L) bool -> (B, F, N, D)."""
        b, f, n, _ = x.shape
        h = self.down(self.norm(x)) + self.place  # (B, F, N, R)
        through_time = self.norm_time(h).transpose(1, 2).flatten(0, 1)  # (B * N, F, R)
        h = h + self.temporal(through_time).unflatten(0, (b, n)).transpose(1, 2)  # (B, F, N, R)
        asked = self.cross(self.norm_text(h).flatten(1, 2), text, mask)  # (B, F * N, R)
        return x + self.up(h + asked.unflatten(1, (f, n)))  # (B, F, N, D)


class TemporalConvolution(nn.Module):
    """A residual 3-D convolution over features, in R channels between two linear maps; the identity at the start."""

    def __init__(self, width: int, adapter_width: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, adapter_width)
        self.conv = nn.Conv3d(adapter_width, adapter_width, kernel_size=3, padding=1)
        self.up = nn.Linear(adapter_width, width)
        zero(self.up)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, F, N, D) with N a square grid of positions -> (B, F, N, D)."""
        side = math.isqrt(x.shape[2])
        h = self.down(x).unflatten(2, (side, side)).permute(0, 4, 1, 2, 3)  # (B, R, F, H, W)
        h = functional.silu(self.conv(h)).permute(0, 2, 3, 4, 1).flatten(2, 3)  # (B, F, N, R)
        return x + self.up(h)


class TextProjection(nn.Module):
    """Text features of width E -> what the backbone takes: a conditioning vector and adapter tokens."""

    def __init__(self, text_width: int, width: int, adapter_width: int) -> None:
        super().__init__()
        self.pooled = nn.Sequential(
            nn.Linear(text_width, width), nn.SiLU(), nn.Linear(width, width), nn.LayerNorm(width)
        )
        self.tokens = nn.Linear(text_width, adapter_width)
        self.norm = nn.LayerNorm(adapter_width)

    def forward(self, text: TextFeatures) -> tuple[Tensor, Tensor]:
        """-> (B, D) for adaLN and (B, L, R) for cross-attention."""
        return self.pooled(text.pooled), self.norm(self.tokens(text.tokens))

    def set_amplitude(self, amplitude: float) -> None:
        """The deviation of the conditioning vector over its channels, for any text; fresh it is 1. 0: silent."""
        nn.init.constant_(self.pooled[-1].weight, amplitude)
        nn.init.zeros_(self.pooled[-1].bias)


class Conditioning(nn.Module):
    """Timestep and text -> one vector c = time + pooled text, and text tokens."""

    def __init__(self, text_width: int, width: int, token_width: int, *, num_steps: int) -> None:
        """``num_steps``: T. Timesteps are scaled to 0..1000, which the sinusoidal features were made for."""
        super().__init__()
        self.t_embedder = TimestepEmbedder(width)
        self.text = TextProjection(text_width, width, token_width)
        self.register_buffer("timesteps", torch.arange(num_steps) * (1000 / num_steps), persistent=False)

    def forward(self, t: Tensor, text: TextFeatures) -> tuple[Tensor, Tensor]:
        """t (B,) int64 -> c (B, D), text tokens (B, L, R)."""
        pooled, tokens = self.text(text)
        return self.t_embedder(self.timesteps[t]) + pooled, tokens
