"""The diffusion transformer DiT (Peebles & Xie 2022) and its depth-pruned TinyFusion variants (Fang et al. 2024).

One model, in parts that a wrapper can drive: whatever depends only on the clip (timestep embedding, adaLN modulation)
comes apart from whatever depends on the tokens, so that a video needs it once per clip and not once per frame. State
dict names and shapes are the published ones, so that published weights load key for key (``weights.py``).
Written from the papers. Imports torch and ``models.layers`` only.

Example::

    shape = parse_variant("DiT-D14/2")
    dit = DiT(patch_size=shape.patch_size, hidden_size=shape.hidden_size, depth=shape.depth, num_heads=shape.num_heads)
    dit(x, t, y)  # (B, 4, 32, 32), (B,), (B,) -> (B, 8, 32, 32)
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from models.layers.modulation import LAYER_NORM_EPS, FinalLayer, Modulated, TimestepEmbedder, modulate
from models.layers.positions import sincos_positions
from models.layers.vit import mlp, patch_embedding, self_attention

VARIANTS: dict[str, tuple[int, int, int]] = {  # name -> (depth, hidden_size, num_heads)
    "D7": (7, 1152, 16),  # Fang et al. 2024: XL with a quarter of its blocks
    "D14": (14, 1152, 16),  # half
    "D19": (19, 1152, 16),  # two thirds
    "XL": (28, 1152, 16),  # Peebles & Xie 2022, table 1
    "L": (24, 1024, 16),
    "B": (12, 768, 12),
    "S": (12, 384, 6),
    "XS": (6, 192, 3),  # ours: trains in minutes on a CPU
    "XXS": (2, 64, 2),  # ours: for tests
}
OURS = ("XS", "XXS")  # no published weights exist, so nothing ties them to the published table of positions
PATCH_SIZES = (2, 4, 8, 16)  # px


class DiTShape(NamedTuple):
    """What a variant's name stands for; ``patch_size`` in px; ``published`` if weights of that name exist."""

    depth: int
    hidden_size: int
    num_heads: int
    patch_size: int
    published: bool = True


def parse_variant(variant: str) -> DiTShape:
    """``"DiT-D14/2"`` -> ``DiTShape(14, 1152, 16, 2, True)``; the config has seen to it that there is such a one."""
    name, patch_size = variant.removeprefix("DiT-").split("/")
    return DiTShape(*VARIANTS[name], int(patch_size), published=name not in OURS)


def variant_of(depth: int, width: int, patch_size: int) -> str | None:
    """The name of these sizes, ``patch_size`` in px; None if none has them."""
    names = [name for name, sizes in VARIANTS.items() if sizes[:2] == (depth, width) and patch_size in PATCH_SIZES]
    return f"DiT-{names[0]}/{patch_size}" if names else None


class LabelEmbedder(nn.Module):
    """Class labels (B,) int in [0, num_classes] -> (B, D); the label ``num_classes`` is the null class of guidance."""

    def __init__(self, num_classes: int, hidden_size: int) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(num_classes + 1, hidden_size)

    def forward(self, y: Tensor) -> Tensor:
        return self.embedding_table(y)


class DiTBlock(Modulated):
    """A transformer block with adaLN-Zero (Peebles & Xie 2022, figure 3, second from the left).

    Its modulation is (B, 6, D): shift, scale and gate of the attention, then of the MLP.
    """

    def __init__(self, hidden_size: int, num_heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__(hidden_size, 6)
        self.norm1 = nn.LayerNorm(hidden_size, elementwise_affine=False, eps=LAYER_NORM_EPS)
        self.attn = self_attention(hidden_size, num_heads)
        self.norm2 = nn.LayerNorm(hidden_size, elementwise_affine=False, eps=LAYER_NORM_EPS)
        self.mlp = mlp(hidden_size, int(hidden_size * mlp_ratio), approximate="tanh")

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """Tokens (B, N, D) and ``self.modulation(c)`` (B, 6, D) -> tokens (B, N, D)."""
        shift_msa, scale_msa, gate_msa, shift_mlp, scale_mlp, gate_mlp = modulation.unbind(1)  # each (B, D)
        x = x + gate_msa.unsqueeze(1) * self.attn(modulate(self.norm1(x), shift_msa, scale_msa))
        return x + gate_mlp.unsqueeze(1) * self.mlp(modulate(self.norm2(x), shift_mlp, scale_mlp))


class DiT(nn.Module):
    """The published model: (x, t, y) -> noise and, with ``learn_sigma``, as many channels of variance.

    ``input_size`` and ``patch_size`` in px; N = (input_size / patch_size)^2 tokens of width D = ``hidden_size``.
    ``num_classes = 0`` builds no class table. Labels are never dropped here: who trains with guidance passes the null
    label ``num_classes`` himself.
    """

    def __init__(
        self,
        input_size: int = 32,
        patch_size: int = 2,
        in_channels: int = 4,
        hidden_size: int = 1152,
        depth: int = 28,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        num_classes: int = 1000,
        learn_sigma: bool = True,
    ) -> None:
        super().__init__()
        assert input_size % patch_size == 0, f"{input_size} px is no multiple of the patch size {patch_size} px"
        self.patch_size = patch_size
        self.in_channels = in_channels
        self.out_channels = in_channels * (2 if learn_sigma else 1)
        self.hidden_size = hidden_size
        self.grid_size = input_size // patch_size  # patches along one side
        self.x_embedder = patch_embedding(patch_size, in_channels, hidden_size)
        self.t_embedder = TimestepEmbedder(hidden_size)
        self.y_embedder = LabelEmbedder(num_classes, hidden_size) if num_classes else None
        # A buffer: saved under the published name, never trained.
        self.pos_embed: Tensor
        self.register_buffer("pos_embed", sincos_positions(hidden_size, self.grid_size).unsqueeze(0))
        self.blocks = nn.ModuleList([DiTBlock(hidden_size, num_heads, mlp_ratio) for _ in range(depth)])
        self.final_layer = FinalLayer(hidden_size, patch_size, self.out_channels)
        initialise(self)

    def embed_patches(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) -> tokens with positions (B, N, D), row by row."""
        return self.x_embedder(x) + self.pos_embed

    def unpatchify(self, tokens: Tensor) -> Tensor:
        """(B, N, patch_size^2 * C) with channels last within a patch -> (B, C, H, W)."""
        g, p = self.grid_size, self.patch_size
        patches = tokens.unflatten(2, (p, p, -1)).unflatten(1, (g, g))  # (B, gy, gx, py, px, C)
        return patches.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)  # (B, C, gy py, gx px)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """x (B, C, H, W), t (B,) on the published 0..999 scale, y (B,) int64 -> (B, out_channels, H, W).

        ``y`` is ignored where there is no class table.
        """
        tokens = self.embed_patches(x)  # (B, N, D)
        c = self.t_embedder(t)  # (B, D)
        if self.y_embedder is not None:
            assert y is not None, "a DiT with classes needs labels"
            c = c + self.y_embedder(y)  # (B, D)
        for block in self.blocks:
            tokens = block(tokens, block.modulation(c))  # (B, N, D)
        tokens = self.final_layer(tokens, self.final_layer.modulation(c))  # (B, N, p * p * out_channels)
        return self.unpatchify(tokens)  # (B, out_channels, H, W)


def initialise(dit: DiT) -> None:
    """Fresh weights for every parameter, in place (Peebles & Xie 2022, section 3.2 and appendix A)."""
    for module in dit.modules():
        if isinstance(module, nn.Linear):  # keeps the variance through depth, forwards and backwards alike
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    # The patch embedding is a linear map of a whole patch; as a convolution its fans would count pixels twice.
    nn.init.xavier_uniform_(dit.x_embedder.proj.weight.data.flatten(1))
    nn.init.zeros_(dit.x_embedder.proj.bias)
    # The conditioning starts small against the modulation it passes through, alike for time and class.
    nn.init.normal_(dit.t_embedder.mlp[0].weight, std=0.02)
    nn.init.normal_(dit.t_embedder.mlp[2].weight, std=0.02)
    if dit.y_embedder is not None:
        nn.init.normal_(dit.y_embedder.embedding_table.weight, std=0.02)
    # adaLN-Zero: gates of zero make every block the identity, a zero final layer makes the first prediction zero.
    for layer in (*(block.adaLN_modulation[1] for block in dit.blocks), dit.final_layer.adaLN_modulation[1]):
        nn.init.zeros_(layer.weight)
    nn.init.zeros_(dit.final_layer.linear.weight)
