"""Between clips and tubelet tokens: boxes of pixels over a few frames, each one token (Arnab et al. 2021, section 3.2).

A clip is a grid of F' x N tubelets: F' = F / frames of a tubelet, N = (H / its size)^2, row by row. D is the width of
a token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from config import Config
from models.architecture import Architecture, Shapes, Values, num_members
from models.layers.adapters import zero
from models.layers.modulation import FinalLayer
from models.layers.positions import fitted_frames, fitted_positions

HEAD_WIDTH = 64  # channels of an attention head


class TubeletShape(NamedTuple):
    """Sizes of a transformer over tubelets; ``clip`` (C, F, H, W) with H = W, ``frames`` and ``size`` of a tubelet."""

    clip: tuple[int, int, int, int]
    frames: int  # frames
    size: int  # px
    width: int  # D, a multiple of HEAD_WIDTH
    depth: int  # blocks

    @property
    def grid(self) -> tuple[int, int]:
        """(F', side of the square of N)."""
        return self.clip[1] // self.frames, self.clip[2] // self.size

    @property
    def num_tokens(self) -> int:
        """F' N."""
        return self.grid[0] * self.grid[1] ** 2

    @property
    def num_heads(self) -> int:
        return self.width // HEAD_WIDTH


def tubelet_architecture(network: Callable[..., nn.Module], *lists: str) -> Architecture:
    """A transformer over tubelets as an entry of the registry; its TRANSFORMER_DEPTH blocks stand in ``lists``.

    ``network(shape, *, text_width, num_steps, gradient_checkpointing)``; ``num_steps``: T of the noise schedule.
    """

    def build(config: Config, *, text_width: int, alphas_cumprod: Tensor) -> nn.Module:
        shape = TubeletShape(
            clip=config.INPUT_SHAPE,
            frames=config.TUBELET_FRAMES,
            size=config.TUBELET_SIZE,
            width=config.TRANSFORMER_WIDTH,
            depth=config.TRANSFORMER_DEPTH,
        )
        return network(
            shape,
            text_width=text_width,
            num_steps=len(alphas_cumprod),
            gradient_checkpointing=config.GRADIENT_CHECKPOINTING,
        )

    def read(shapes: Shapes) -> Values:
        width, _, frames, size, _ = shapes["embedding.proj.weight"]
        depth = sum(num_members(shapes, name) for name in lists)
        return {"TUBELET_FRAMES": frames, "TUBELET_SIZE": size, "TRANSFORMER_WIDTH": width, "TRANSFORMER_DEPTH": depth}

    return Architecture(build=build, read=read)


class TubeletEmbedding(nn.Module):
    """A linear map of every tubelet's pixels, plus a fixed code of when and where it lies."""

    def __init__(self, shape: TubeletShape) -> None:
        super().__init__()
        box = (shape.frames, shape.size, shape.size)
        self.proj = nn.Conv3d(shape.clip[0], shape.width, kernel_size=box, stride=box)
        # A linear map of the whole box: as a convolution its fan-out would count pixels twice.
        nn.init.xavier_uniform_(self.proj.weight.data.flatten(1))
        nn.init.zeros_(self.proj.bias)
        frames, side = shape.grid
        place = fitted_frames(frames, shape.width)[:, None] + fitted_positions(shape.width, side)  # (F', N, D)
        self.register_buffer("place", place.flatten(0, 1), persistent=False)

    def forward(self, x_t: Tensor) -> Tensor:
        """x_t (B, C, F, H, W) -> (B, F' N, D)."""
        return self.proj(x_t).flatten(2).transpose(1, 2) + self.place


class TubeletOutput(nn.Module):
    """Tokens to pixels through adaLN and a linear map that starts at zero."""

    def __init__(self, shape: TubeletShape) -> None:
        super().__init__()
        self.shape = shape
        self.final_layer = FinalLayer(shape.width, shape.size, shape.frames * shape.clip[0])
        zero(self.final_layer.linear)
        zero(self.final_layer.adaLN_modulation[1])

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """x (B, F' N, D), conditioning c (B, D) -> (B, C, F, H, W)."""
        return clip_of_tubelets(self.final_layer(x, self.final_layer.modulation(c)), self.shape)


def clip_of_tubelets(pixels: Tensor, shape: TubeletShape) -> Tensor:
    """(B, F' N, size * size * frames * C), within a tubelet row, column, frame, channel -> (B, C, F, H, W)."""
    f, s = shape.frames, shape.size
    g, side = shape.grid
    boxes = pixels.unflatten(2, (s, s, f, -1)).unflatten(1, (g, side, side))  # (B, F', gy, gx, py, px, f, C)
    return boxes.permute(0, 7, 1, 6, 2, 4, 3, 5).flatten(6, 7).flatten(4, 5).flatten(2, 3)
