"""The layers of a vision transformer under the names of published weights (Dosovitskiy et al. 2021, section 3.1).

timm's have the same names and give the same bits (``tests/models/test_vit.py``), but importing any of them imports
torchvision and every model that timm knows: a good part of what a start may take. Imports torch and ``attention``. B
sequences of N tokens of width D.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.layers.attention import attend


class PatchEmbed(nn.Module):
    """Images (B, C, H, W) -> tokens (B, N, D): a linear map of each square patch, row by row."""

    def __init__(self, patch_size: int, in_channels: int, width: int) -> None:
        """``patch_size`` in px."""
        super().__init__()
        self.proj = nn.Conv2d(in_channels, width, kernel_size=patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head self-attention: ``attend`` with d = D / num_heads, between two linear maps."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        assert width % num_heads == 0, f"width {width} is no multiple of {num_heads} heads"
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D). ``attn_mask`` broadcastable to (B, heads, N, N) bool: True where a token is seen."""
        qkv = self.qkv(x).unflatten(2, (3, self.num_heads, -1))  # (B, N, 3, heads, d)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, N, d)
        return self.proj(attend(q, k, v, attn_mask).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear maps with a GELU between, token by token. (B, N, D) -> (B, N, D)."""

    def __init__(self, width: int, hidden_width: int, *, approximate: str = "none") -> None:
        """``approximate``: of the GELU; ``"tanh"`` or ``"none"``."""
        super().__init__()
        self.fc1 = nn.Linear(width, hidden_width)
        self.act = nn.GELU(approximate=approximate)
        self.fc2 = nn.Linear(hidden_width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """Attention, then an MLP, each a residual behind a normalisation (Dosovitskiy et al. 2021, eq. 2 and 3)."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D); ``attn_mask`` as ``Attention`` takes it."""
        x = x + self.attn(self.norm1(x), attn_mask)
        return x + self.mlp(self.norm2(x))
