"""The layers of a vision transformer: timm's, under the names of published weights (Dosovitskiy et al. 2021, 3.1).

Importing any of them imports torchvision, torch's compiler and every model that timm knows: 1.5 s of processor time,
0.4 s of it where a training or an encoder brings the first two anyway. So timm is imported where a layer is built, and
a mistake on the command line is answered without it. B sequences of N tokens of width D.
"""

from __future__ import annotations

from functools import cache, partial

from torch import Tensor, nn

from models.layers.attention import attend


def patch_embedding(patch_size: int, in_channels: int, width: int) -> nn.Module:
    """Images (B, C, H, W) -> tokens (B, N, D): a linear map of each square patch, row by row. ``patch_size`` in px."""
    from timm.layers import PatchEmbed

    return PatchEmbed(None, patch_size, in_channels, width)


def mlp(width: int, hidden_width: int, *, approximate: str = "none") -> nn.Module:
    """Two linear maps with a GELU between, token by token. (B, N, D) -> (B, N, D); ``approximate``: "tanh", "none"."""
    from timm.layers import Mlp

    return Mlp(width, hidden_width, act_layer=partial(nn.GELU, approximate=approximate))


def self_attention(width: int, num_heads: int) -> nn.Module:
    """``attend`` with d = D / num_heads, between two linear maps.

    Its ``forward(x, attn_mask=None)`` is (B, N, D) -> (B, N, D) with ``attn_mask`` broadcastable to (B, heads, N, N)
    bool: True where a token is seen.
    """
    return _attention()(width, num_heads=num_heads, qkv_bias=True)


@cache
def _attention() -> type[nn.Module]:
    """timm's class with our kernel, which is the faster on a CPU (``benchmarks/attention.py``)."""
    from timm.models.vision_transformer import Attention

    class SelfAttention(Attention):
        def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
            qkv = self.qkv(x).unflatten(2, (3, self.num_heads, -1))  # (B, N, 3, heads, d)
            q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, N, d)
            return self.proj(attend(q, k, v, attn_mask).transpose(1, 2).flatten(2))

    return SelfAttention


class Block(nn.Module):
    """Attention, then an MLP, each a residual behind a normalisation (Dosovitskiy et al. 2021, eq. 2 and 3)."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = self_attention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = mlp(width, int(width * mlp_ratio))

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D); ``attn_mask`` as ``self_attention`` takes it."""
        x = x + self.attn(self.norm1(x), attn_mask)
        return x + self.mlp(self.norm2(x))
