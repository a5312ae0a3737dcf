"""Video U-Net: factorised 3-D convolutions, attention at low resolutions (Ho et al. 2022, "Video Diffusion Models").

Convolutions are over space (1 x 3 x 3), then over time (3 x 1 x 1); where a side has at most ATTENTION_SIDE positions,
they are followed by attention over space, over time, and to the text. Timestep and pooled text scale and shift the
channels of every residual block (FiLM, Perez et al. 2018).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from config import Config
from models.architecture import Architecture, Shapes, Values, num_members
from models.layers.adapters import Conditioning, TextAttention, maybe_checkpoint, xavier, zero
from models.layers.positions import fitted_frames, fitted_positions
from models.layers.vit import self_attention
from models.text_features import TextFeatures
from utils.video import batch_to_frames, frames_to_batch

HEAD_WIDTH = 32  # channels of an attention head
GROUPS = 8  # of a group normalisation
STAGES = 2  # at each resolution, on the way down, in the middle, and on the way up
ATTENTION_SIDE = 8  # positions; above it attention costs more than it brings
CONDITION_WIDTH = 256  # K: channels of the conditioning vector and of the text tokens


class ResidualBlock(nn.Module):
    """Convolutions over space, over time, over space again, scaled and shifted by c; a residual that starts silent."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(GROUPS, width_in)
        self.space_in = nn.Conv3d(width_in, width, kernel_size=(1, 3, 3), padding=(0, 1, 1))
        self.time = nn.Conv3d(width, width, kernel_size=(3, 1, 1), padding=(1, 0, 0))
        self.film = nn.Linear(CONDITION_WIDTH, 2 * width)
        self.norm_out = nn.GroupNorm(GROUPS, width)
        self.space_out = nn.Conv3d(width, width, kernel_size=(1, 3, 3), padding=(0, 1, 1))
        self.shortcut = nn.Conv3d(width_in, width, kernel_size=1) if width_in != width else nn.Identity()
        zero(self.time)
        zero(self.film)
        zero(self.space_out)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """x (B, width_in, F, H, W), c (B, K) -> (B, width, F, H, W)."""
        h = self.space_in(functional.silu(self.norm_in(x)))
        h = h + self.time(h)
        scale, shift = self.film(functional.silu(c))[:, :, None, None, None].chunk(2, dim=1)  # (B, width, 1, 1, 1)
        h = self.norm_out(h) * (1 + scale) + shift
        return self.shortcut(x) + self.space_out(functional.silu(h))


class FactorisedAttention(nn.Module):
    """Residual attention over the positions of a frame, over the frames at a position, then to the text."""

    def __init__(self, width: int, *, num_frames: int, side: int) -> None:
        super().__init__()
        num_heads = width // HEAD_WIDTH
        self.norm_space, self.norm_time = nn.LayerNorm(width), nn.LayerNorm(width)
        self.space = self_attention(width, num_heads)
        self.time = self_attention(width, num_heads)
        self.text = TextAttention(width, num_heads, text_width=CONDITION_WIDTH)
        self.register_buffer("where", fitted_positions(width, side), persistent=False)  # (N, D)
        self.register_buffer("when", fitted_frames(num_frames, width), persistent=False)  # (F, D)
        xavier(self)
        for layer in (self.space.proj, self.time.proj, self.text.cross.proj):
            zero(layer)

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """x (B, D, F, H, W), tokens (B, L, K), mask (B, L) bool -> (B, D, F, H, W)."""
        b, _, f, h, w = x.shape
        x = x.permute(0, 2, 3, 4, 1).flatten(2, 3)  # (B, F, N, D)
        x = x + self.space((self.norm_space(x) + self.where).flatten(0, 1)).unflatten(0, (b, f))
        x = x.transpose(1, 2)  # (B, N, F, D)
        x = x + self.time((self.norm_time(x) + self.when).flatten(0, 1)).unflatten(0, (b, h * w))
        x = self.text(x.flatten(1, 2), tokens, mask)  # (B, N F, D)
        return x.unflatten(1, (h, w, f)).permute(0, 4, 3, 1, 2)


class Stage(nn.Module):
    """A residual block, and attention after it where ``side`` is small."""

    def __init__(self, width_in: int, width: int, *, num_frames: int, side: int) -> None:
        super().__init__()
        self.residual = ResidualBlock(width_in, width)
        attends = side <= ATTENTION_SIDE
        self.attention = FactorisedAttention(width, num_frames=num_frames, side=side) if attends else None

    def forward(self, x: Tensor, c: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """x (B, width_in, F, H, W), c (B, K), tokens (B, L, K), mask (B, L) bool -> (B, width, F, H, W)."""
        x = self.residual(x, c)
        return x if self.attention is None else self.attention(x, tokens, mask)


class UNet3D(nn.Module):
    """``forward(x_t, t, text) -> prediction``: down ``num_levels`` resolutions and up again, with skips."""

    def __init__(
        self,
        clip_shape: tuple[int, int, int, int],
        *,
        patch_size: int,
        width: int,
        num_levels: int,
        text_width: int,
        num_steps: int,
        gradient_checkpointing: bool,
    ) -> None:
        """``clip_shape`` (C, F, H, W); ``patch_size`` px; ``width`` channels at the finest level; ``num_steps`` T."""
        super().__init__()
        self.patch_size = patch_size
        self.gradient_checkpointing = gradient_checkpointing
        c, f, h, _ = clip_shape
        widths = [width * 2**level for level in range(num_levels)]
        sides = [h // patch_size // 2**level for level in range(num_levels)]

        def stage(width_in: int, level: int) -> Stage:
            return Stage(width_in, widths[level], num_frames=f, side=sides[level])

        self.conditioning = Conditioning(text_width, CONDITION_WIDTH, CONDITION_WIDTH, num_steps=num_steps)
        xavier(self.conditioning)
        self.stem = nn.Conv3d(c, width, kernel_size=(1, patch_size, patch_size), stride=(1, patch_size, patch_size))
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.shrink, self.grow = nn.ModuleList(), nn.ModuleList()
        for level in range(num_levels):
            below, above = widths[max(level - 1, 0)], widths[min(level + 1, num_levels - 1)]
            self.shrink.append(_shrink(below) if level else nn.Identity())
            self.down.append(nn.ModuleList(stage(w, level) for w in [below, *[widths[level]] * (STAGES - 1)]))
            self.grow.append(_grow(above) if level < num_levels - 1 else nn.Identity())
            rising = [above, *[widths[level]] * (STAGES - 1)]
            self.up.append(nn.ModuleList(stage(w + widths[level], level) for w in rising))
        self.middle = nn.ModuleList(stage(widths[-1], num_levels - 1) for _ in range(STAGES))
        self.norm = nn.GroupNorm(GROUPS, width)
        self.to_pixels = nn.Conv3d(width, c * patch_size**2, kernel_size=1)
        zero(self.to_pixels)

    def forward(self, x_t: Tensor, t: Tensor, text: TextFeatures) -> Tensor:
        """x_t (B, C, F, H, W) float, t (B,) int64, text of B rows -> the prediction, shaped like x_t."""
        c, tokens = self.conditioning(t, text)  # (B, K), (B, L, K)

        def run(stage: Stage, x: Tensor) -> Tensor:
            return maybe_checkpoint(stage, x, c, tokens, text.mask, enabled=self.gradient_checkpointing)

        x = self.stem(x_t)  # (B, width, F, H / patch_size, W / patch_size)
        skips = []
        for shrink, stages in zip(self.shrink, self.down, strict=True):
            x = shrink(x)
            for stage in stages:
                x = run(stage, x)
                skips.append(x)
        for stage in self.middle:
            x = run(stage, x)
        for grow, stages in zip(reversed(self.grow), reversed(self.up), strict=True):
            x = grow(x)
            for stage in stages:
                x = run(stage, torch.cat([x, skips.pop()], dim=1))
        pixels = self.to_pixels(functional.silu(self.norm(x)))  # (B, C * patch_size^2, F, ...)
        frames = functional.pixel_shuffle(frames_to_batch(pixels), self.patch_size)  # (B F, C, H, W)
        return batch_to_frames(frames, x_t.shape[2])


def _shrink(width: int) -> nn.Module:
    """Half the height and width."""
    return nn.Conv3d(width, width, kernel_size=(1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))


def _grow(width: int) -> nn.Module:
    """Twice the height and width."""
    return nn.Sequential(nn.Upsample(scale_factor=(1, 2, 2)), nn.Conv3d(width, width, (1, 3, 3), padding=(0, 1, 1)))


def build_unet3d(config: Config, *, text_width: int, alphas_cumprod: Tensor) -> UNet3D:
    """The backbone that the config names, freshly initialised; of ``alphas_cumprod`` (T,) only T matters."""
    return UNet3D(
        config.INPUT_SHAPE,
        patch_size=config.UNET_PATCH_SIZE,
        width=config.UNET_WIDTH,
        num_levels=config.UNET_LEVELS,
        text_width=text_width,
        num_steps=len(alphas_cumprod),
        gradient_checkpointing=config.GRADIENT_CHECKPOINTING,
    )


def read_unet3d(shapes: Shapes) -> Values:
    """The inverse of ``build_unet3d``, from the shapes of its tensors."""
    width, _, _, size, _ = shapes["stem.weight"]
    return {"UNET_PATCH_SIZE": size, "UNET_WIDTH": width, "UNET_LEVELS": num_members(shapes, "down")}


ARCHITECTURE = Architecture(build=build_unet3d, read=read_unet3d, shorten=None)  # no two of its stages are alike
