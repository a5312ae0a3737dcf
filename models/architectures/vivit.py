"""ViViT with factorised self-attention, made a denoiser (Arnab et al. 2021, section 3.3, model 3).

Every block attends over space within one step of time, then over time at one position, then looks at the text, then
has its MLP: attention grows with F' N (F' + N) instead of (F' N)^2. The classifier's token and head are gone; timestep
and text modulate the blocks instead (adaLN-Zero, Peebles & Xie 2022, section 3.2).
"""

from __future__ import annotations

from torch import Tensor, nn

from models.layers.adapters import Conditioning, TextAttention, maybe_checkpoint, xavier, zero
from models.layers.modulation import LAYER_NORM_EPS, Modulated, modulate
from models.layers.tubelets import TubeletEmbedding, TubeletOutput, TubeletShape, tubelet_architecture
from models.layers.vit import mlp, self_attention
from models.text_features import TextFeatures


class FactorisedBlock(Modulated):
    """Attention over space, over time and to the text, then an MLP; each a residual that starts silent.

    Its modulation is (B, 9, D): shift, scale and gate of the spatial attention, of the temporal one, of the MLP.
    """

    def __init__(self, shape: TubeletShape, mlp_ratio: float = 4.0) -> None:
        super().__init__(shape.width, 9)
        self.num_frames, side = shape.grid
        width, num_heads = shape.width, shape.num_heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=LAYER_NORM_EPS)
        self.spatial = self_attention(width, num_heads)
        self.temporal = self_attention(width, num_heads)
        self.text = TextAttention(width, num_heads)
        self.mlp = mlp(width, int(width * mlp_ratio), approximate="tanh")
        xavier(self)
        zero(self.adaLN_modulation[1])
        zero(self.text.cross.proj)

    def forward(self, x: Tensor, modulation: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """x (B, F' N, D), ``self.modulation(c)`` (B, 9, D), tokens (B, L, D), mask (B, L) bool -> (B, F' N, D)."""
        space, time, mlp = modulation.unflatten(1, (3, 3)).unbind(1)  # each (B, 3, D)
        x = x + space[:, 2:] * self._through_space(self._modulated(x, space))
        x = x + time[:, 2:] * self._through_time(self._modulated(x, time))
        x = self.text(x, tokens, mask)
        return x + mlp[:, 2:] * self.mlp(self._modulated(x, mlp))

    def _modulated(self, x: Tensor, parameters: Tensor) -> Tensor:
        return modulate(self.norm(x), parameters[:, 0], parameters[:, 1])

    def _through_space(self, x: Tensor) -> Tensor:
        b = len(x)
        frames = x.unflatten(1, (self.num_frames, -1)).flatten(0, 1)  # (B F', N, D)
        return self.spatial(frames).unflatten(0, (b, -1)).flatten(1, 2)

    def _through_time(self, x: Tensor) -> Tensor:
        b = len(x)
        places = x.unflatten(1, (self.num_frames, -1)).transpose(1, 2).flatten(0, 1)  # (B N, F', D)
        return self.temporal(places).unflatten(0, (b, -1)).transpose(1, 2).flatten(1, 2)


class ViViT(nn.Module):
    """``forward(x_t, t, text) -> prediction`` with attention factorised into space and time."""

    def __init__(self, shape: TubeletShape, *, text_width: int, num_steps: int, gradient_checkpointing: bool) -> None:
        """``num_steps``: T of the noise schedule."""
        super().__init__()
        self.gradient_checkpointing = gradient_checkpointing
        self.conditioning = Conditioning(text_width, shape.width, shape.width, num_steps=num_steps)
        self.embedding = TubeletEmbedding(shape)
        self.blocks = nn.ModuleList(FactorisedBlock(shape) for _ in range(shape.depth))
        self.output = TubeletOutput(shape)

    def forward(self, x_t: Tensor, t: Tensor, text: TextFeatures) -> Tensor:
        """x_t (B, C, F, H, W) float, t (B,) int64, text of B rows -> the prediction, shaped like x_t."""
        c, tokens = self.conditioning(t, text)  # (B, D), (B, L, D)
        x = self.embedding(x_t)  # (B, F' N, D)
        for block in self.blocks:
            modulation = block.modulation(c)  # (B, 9, D)
            x = maybe_checkpoint(block, x, modulation, tokens, text.mask, enabled=self.gradient_checkpointing)
        return self.output(x, c)


ARCHITECTURE = tubelet_architecture(ViViT, "blocks")
