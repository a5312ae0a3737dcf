"""DiT over tubelets: joint attention in space and time with adaLN-Zero (Peebles & Xie 2022; tubelets as in Latte, Ma et
al. 2024).

Every token sees every other at once: the plainest of the transformers, and the dearest for long clips, since attention
grows with the square of the F' N tokens. After each block the tokens look at the text.
"""

from __future__ import annotations

from torch import Tensor, nn

from external.TinyFusion.dit import DiTBlock
from models.layers.adapters import Conditioning, TextAttention, maybe_checkpoint, xavier, zero
from models.layers.tubelets import TubeletEmbedding, TubeletOutput, TubeletShape, tubelet_architecture
from models.text_features import TextFeatures


class DiT3D(nn.Module):
    """``forward(x_t, t, text) -> prediction`` over all tubelets jointly."""

    def __init__(self, shape: TubeletShape, *, text_width: int, num_steps: int, gradient_checkpointing: bool) -> None:
        """``num_steps``: T of the noise schedule."""
        super().__init__()
        self.gradient_checkpointing = gradient_checkpointing
        self.conditioning = Conditioning(text_width, shape.width, shape.width, num_steps=num_steps)
        self.embedding = TubeletEmbedding(shape)
        self.blocks = nn.ModuleList(DiTBlock(shape.width, shape.num_heads) for _ in range(shape.depth))
        self.text_attention = nn.ModuleList(TextAttention(shape.width, shape.num_heads) for _ in range(shape.depth))
        xavier(self)
        for block, attention in zip(self.blocks, self.text_attention, strict=True):
            zero(block.adaLN_modulation[1])  # adaLN-Zero: at first every block is the identity
            zero(attention.cross.proj)
        self.output = TubeletOutput(shape)

    def forward(self, x_t: Tensor, t: Tensor, text: TextFeatures) -> Tensor:
        """x_t (B, C, F, H, W) float, t (B,) int64, text of B rows -> the prediction, shaped like x_t."""
        c, tokens = self.conditioning(t, text)  # (B, D), (B, L, D)
        x = self.embedding(x_t)  # (B, F' N, D)
        for block, attention in zip(self.blocks, self.text_attention, strict=True):
            x = maybe_checkpoint(block, x, block.modulation(c), enabled=self.gradient_checkpointing)
            x = maybe_checkpoint(attention, x, tokens, text.mask, enabled=self.gradient_checkpointing)
        return self.output(x, c)


ARCHITECTURE = tubelet_architecture(DiT3D, "blocks")
