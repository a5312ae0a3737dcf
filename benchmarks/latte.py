"""diffusers' Latte and our transformers at the same width, depth, heads' width and tokens, for ``benchmarks/peers.py``.

Latte (Ma et al. 2024) has a spatial and a temporal block in each of its layers, so "equal depth" has two readings:
as many layers as we have blocks (twice the blocks), and half as many (as many blocks, and nearly our parameters).
Its settings are those of the published model but for the sizes: adaLN-single, biases, GELU, cross-attention to the
text in spatial blocks.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from external.TinyFusion.dit import DiT
from models.architectures.dit3d import DiT3D
from models.architectures.tinyfusion import TinyFusionVideo
from models.architectures.vivit import ViViT
from models.layers.positions import fitted_positions
from models.layers.tubelets import HEAD_WIDTH, TubeletShape
from models.text_features import TextFeatures

NUM_STEPS = 50  # T


class Size(NamedTuple):
    """Frames of ``side`` x ``side`` px, one token for each ``patch`` x ``patch`` px of each frame."""

    width: int
    depth: int
    side: int
    patch: int
    frames: int
    adapter_width: int  # of tinyfusion
    chunk: int  # of tinyfusion, frames
    text_width: int = 768

    @property
    def clip(self) -> tuple[int, int, int, int]:
        return (3, self.frames, self.side, self.side)

    @property
    def num_tokens(self) -> int:
        """Of one clip."""
        return self.frames * (self.side // self.patch) ** 2


SIZES = {
    "small": Size(width=384, depth=6, side=32, patch=2, frames=16, adapter_width=96, chunk=16),
    "default": Size(width=1152, depth=2, side=64, patch=2, frames=16, adapter_width=288, chunk=4),
}


def tinyfusion(size: Size, *, checkpointing: bool) -> nn.Module:
    """Ours, frame by frame with adapters."""
    dit = DiT(
        size.side, size.patch, 3, size.width, size.depth, size.width // HEAD_WIDTH, num_classes=0, learn_sigma=False
    )
    dit.pos_embed.copy_(fitted_positions(size.width, dit.grid_size))
    return TinyFusionVideo(
        dit,
        num_frames=size.frames,
        text_width=size.text_width,
        adapter_width=size.adapter_width,
        frame_chunk_size=size.chunk,
        gradient_checkpointing=checkpointing,
        timesteps=torch.linspace(0, 999, NUM_STEPS),
    )


def tubelets(size: Size) -> TubeletShape:
    """One frame thick, so that tokens are Latte's."""
    return TubeletShape(clip=size.clip, frames=1, size=size.patch, width=size.width, depth=size.depth)


def vivit(size: Size, *, checkpointing: bool) -> nn.Module:
    """Ours, space and time factorised in every block: the nearest to Latte."""
    return ViViT(tubelets(size), text_width=size.text_width, num_steps=NUM_STEPS, gradient_checkpointing=checkpointing)


def dit3d(size: Size, *, checkpointing: bool) -> nn.Module:
    """Ours, joint attention over all tokens."""
    return DiT3D(tubelets(size), text_width=size.text_width, num_steps=NUM_STEPS, gradient_checkpointing=checkpointing)


class Latte(nn.Module):
    """diffusers' model behind our ``forward``; every text token is real, so it needs no mask."""

    def __init__(self, size: Size, *, num_layers: int, checkpointing: bool) -> None:
        from diffusers import LatteTransformer3DModel

        super().__init__()
        self.latte = LatteTransformer3DModel(
            num_attention_heads=size.width // HEAD_WIDTH,
            attention_head_dim=HEAD_WIDTH,
            in_channels=3,
            out_channels=3,
            num_layers=num_layers,
            cross_attention_dim=size.width,
            attention_bias=True,
            sample_size=size.side,
            patch_size=size.patch,
            activation_fn="gelu-approximate",
            norm_type="ada_norm_single",
            norm_elementwise_affine=False,
            norm_eps=1e-6,
            caption_channels=size.text_width,
            video_length=size.frames,
        )
        if checkpointing:
            self.latte.enable_gradient_checkpointing()

    def forward(self, x_t: Tensor, t: Tensor, text: TextFeatures) -> Tensor:
        """x_t (B, 3, F, H, W) float, t (B,) int64, text of B rows -> the prediction, shaped like x_t."""
        return self.latte(x_t, t, text.tokens, return_dict=False)[0]


def latte_of_equal_layers(size: Size, *, checkpointing: bool) -> nn.Module:
    """As many layers as we have blocks: twice the blocks."""
    return Latte(size, num_layers=size.depth, checkpointing=checkpointing)


def latte_of_equal_blocks(size: Size, *, checkpointing: bool) -> nn.Module:
    """Half as many layers: as many blocks as we have, spatial and temporal counted alike."""
    return Latte(size, num_layers=max(1, size.depth // 2), checkpointing=checkpointing)


MODELS = {
    "tinyfusion": tinyfusion,
    "vivit": vivit,
    "dit3d": dit3d,
    "latte, equal layers": latte_of_equal_layers,
    "latte, equal blocks": latte_of_equal_blocks,
}
LATTES = tuple(name for name in MODELS if name.startswith("latte"))
