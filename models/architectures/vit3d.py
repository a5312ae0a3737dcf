"""A U-shaped video ViT: time, text and tubelets are all tokens of one sequence, with long skips (Bao et al. 2022).

Nothing modulates the blocks: what the clip is conditioned on stands in the sequence before the tubelets and is
attended to. Each block of the first half hands its output to its mirror image in the second, so that the fine
detail which a denoiser must keep need not pass through the middle.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.layers.adapters import Conditioning, maybe_checkpoint, xavier, zero
from models.layers.tubelets import TubeletEmbedding, TubeletShape, clip_of_tubelets, tubelet_architecture
from models.layers.vit import Block
from models.text_features import TextFeatures


class SkipBlock(nn.Module):
    """A pre-norm transformer block that first joins what its mirror image handed on (Bao et al. 2022, figure 1)."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.join = nn.Linear(2 * width, width)
        self.block = Block(width, num_heads)

    def forward(self, x: Tensor, skip: Tensor, mask: Tensor) -> Tensor:
        """x and skip (B, S, D), mask (B, 1, 1, S) bool -> (B, S, D)."""
        return self.block(self.join(torch.cat([x, skip], dim=2)), mask)


class ViT3D(nn.Module):
    """``forward(x_t, t, text) -> prediction``; depth // 2 blocks down, as many up, one between if the depth is odd."""

    def __init__(self, shape: TubeletShape, *, text_width: int, num_steps: int, gradient_checkpointing: bool) -> None:
        """``num_steps``: T of the noise schedule."""
        super().__init__()
        self.shape = shape
        self.gradient_checkpointing = gradient_checkpointing
        width, num_heads = shape.width, shape.num_heads
        half = shape.depth // 2
        self.conditioning = Conditioning(text_width, width, width, num_steps=num_steps)
        self.embedding = TubeletEmbedding(shape)
        self.down = nn.ModuleList(Block(width, num_heads) for _ in range(half))
        self.middle = nn.ModuleList(Block(width, num_heads) for _ in range(shape.depth % 2))
        self.up = nn.ModuleList(SkipBlock(width, num_heads) for _ in range(half))
        self.norm = nn.LayerNorm(width)
        self.to_pixels = nn.Linear(width, shape.size**2 * shape.frames * shape.clip[0])
        xavier(self)
        zero(self.to_pixels)

    def forward(self, x_t: Tensor, t: Tensor, text: TextFeatures) -> Tensor:
        """x_t (B, C, F, H, W) float, t (B,) int64, text of B rows -> the prediction, shaped like x_t."""
        c, tokens = self.conditioning(t, text)  # (B, D), (B, L, D)
        x = torch.cat([c.unsqueeze(1), tokens, self.embedding(x_t)], dim=1)  # (B, S, D), S = 1 + L + F' N
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        mask[:, 1 : 1 + tokens.shape[1]] = text.mask  # padding is never looked at
        mask = mask[:, None, None, :]  # (B, 1, 1, S)
        skips = []
        for block in self.down:
            x = maybe_checkpoint(block, x, mask, enabled=self.gradient_checkpointing)
            skips.append(x)
        for block in self.middle:
            x = maybe_checkpoint(block, x, mask, enabled=self.gradient_checkpointing)
        for block in self.up:
            x = maybe_checkpoint(block, x, skips.pop(), mask, enabled=self.gradient_checkpointing)
        tubelets = x[:, -self.shape.num_tokens :]  # (B, F' N, D)
        return clip_of_tubelets(self.to_pixels(self.norm(tubelets)), self.shape)


ARCHITECTURE = tubelet_architecture(ViT3D, "down", "middle", "up")
