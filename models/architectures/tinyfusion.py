"""TinyFusion lifted to video: the published image DiT frame by frame, with time and text between its blocks.

Spatial blocks see ``frame_chunk_size`` frames at a time, adapters see all of them, so the chunk size and checkpointing
change memory and never results. What depends only on the clip (timestep and text conditioning, adaLN modulation, text
tokens) is computed once per clip.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from config import Config
from external.TinyFusion.dit import DiT, DiTBlock, parse_variant, variant_of
from external.TinyFusion.weights import published_timesteps
from models.architecture import Architecture, Shapes, Values, num_members
from models.layers.adapters import SpaceTimeAdapter, TemporalConvolution, TextProjection, maybe_checkpoint
from models.layers.positions import fitted_positions
from models.text_features import TextFeatures
from utils.video import batch_to_frames, frames_to_batch

ADAPTER_HEAD_WIDTH = 32  # channels per attention head of an adapter
CONVOLUTION_SHARE = 4  # the final convolution runs in adapter_width / 4 channels


class TinyFusionVideo(nn.Module):
    """``forward(x_t, t, text) -> prediction`` over a DiT; ``timesteps`` maps our t to the published 0..999 scale.

    Args:
        dit: without class table and learned sigma for video; its parts are driven, its ``forward`` is not.
        timesteps: (T,) float32, the published timestep of equal log-SNR for each of ours.
    """

    def __init__(
        self,
        dit: DiT,
        *,
        num_frames: int,
        text_width: int,
        adapter_width: int,
        frame_chunk_size: int,
        gradient_checkpointing: bool,
        timesteps: Tensor,
    ) -> None:
        super().__init__()
        self.dit = dit
        self.frame_chunk_size = frame_chunk_size
        self.gradient_checkpointing = gradient_checkpointing
        self.text = TextProjection(text_width, dit.hidden_size, adapter_width)
        heads = adapter_width // ADAPTER_HEAD_WIDTH
        positions = fitted_positions(adapter_width, dit.grid_size)
        self.adapters = nn.ModuleList(
            SpaceTimeAdapter(
                dit.hidden_size, adapter_width, num_heads=heads, num_frames=num_frames, positions=positions
            )
            for _ in dit.blocks
        )
        self.temporal_convolution = TemporalConvolution(dit.hidden_size, adapter_width // CONVOLUTION_SHARE)
        self.register_buffer("timesteps", timesteps, persistent=False)

    def forward(self, x_t: Tensor, t: Tensor, text: TextFeatures) -> Tensor:
        """x_t (B, C, F, H, W) float, t (B,) int64, text of B rows -> the prediction, shaped like x_t."""
        pooled, tokens = self.text(text)  # (B, D), (B, L, R)
        c = self.dit.t_embedder(self.timesteps[t]) + pooled  # (B, D)
        x = self._embed(x_t)  # (B, F, N, D)
        for block, adapter in zip(self.dit.blocks, self.adapters, strict=True):
            x = self._spatial(block, x, block.modulation(c))
            x = maybe_checkpoint(adapter, x, tokens, text.mask, enabled=self.gradient_checkpointing)
        x = maybe_checkpoint(self.temporal_convolution, x, enabled=self.gradient_checkpointing)
        return self._to_pixels(x, self.dit.final_layer.modulation(c))

    def _embed(self, x_t: Tensor) -> Tensor:
        frames = self.dit.embed_patches(frames_to_batch(x_t))  # (B * F, N, D)
        return frames.unflatten(0, (x_t.shape[0], x_t.shape[2]))

    def _spatial(self, block: DiTBlock, x: Tensor, modulation: Tensor) -> Tensor:
        """One DiT block over every frame, a chunk of frames at a time. x (B, F, N, D), modulation (B, 6, D)."""
        chunks = []
        for chunk in x.split(self.frame_chunk_size, dim=1):
            per_frame = modulation.repeat_interleave(chunk.shape[1], dim=0)  # (B * f, 6, D)
            flat = maybe_checkpoint(block, chunk.flatten(0, 1), per_frame, enabled=self.gradient_checkpointing)
            chunks.append(flat.unflatten(0, chunk.shape[:2]))
        return torch.cat(chunks, dim=1)

    def _to_pixels(self, x: Tensor, modulation: Tensor) -> Tensor:
        per_frame = modulation.repeat_interleave(x.shape[1], dim=0)  # (B * F, 2, D)
        frames = self.dit.unpatchify(self.dit.final_layer(x.flatten(0, 1), per_frame))  # (B * F, C, H, W)
        return batch_to_frames(frames, x.shape[1])


def build_tinyfusion(config: Config, *, text_width: int, alphas_cumprod: Tensor) -> TinyFusionVideo:
    """The backbone that the config names, freshly initialised. ``alphas_cumprod`` (T,) of the noise schedule."""
    shape = parse_variant(config.TINYFUSION_VARIANT)
    channels, _, side, _ = config.INPUT_SHAPE
    dit = DiT(
        input_size=side,
        patch_size=shape.patch_size,
        in_channels=channels,
        hidden_size=shape.hidden_size,
        depth=shape.depth,
        num_heads=shape.num_heads,
        num_classes=0,
        learn_sigma=False,
    )
    if not shape.published:
        dit.pos_embed.copy_(fitted_positions(shape.hidden_size, dit.grid_size))
    return TinyFusionVideo(
        dit,
        num_frames=config.NUM_FRAMES,
        text_width=text_width,
        adapter_width=config.TINYFUSION_ADAPTER_WIDTH,
        frame_chunk_size=config.TINYFUSION_FRAME_CHUNK_SIZE,
        gradient_checkpointing=config.GRADIENT_CHECKPOINTING,
        timesteps=published_timesteps(alphas_cumprod),
    )


def read_tinyfusion(shapes: Shapes) -> Values:
    """The inverse of ``build_tinyfusion``, from the shapes of its tensors."""
    width, _, patch, _ = shapes["dit.x_embedder.proj.weight"]
    variant = variant_of(num_members(shapes, "dit.blocks"), width, patch)  # None is no value of the setting
    return {"TINYFUSION_VARIANT": variant, "TINYFUSION_ADAPTER_WIDTH": shapes["adapters.0.down.weight"][0]}


def block_with_adapter(backbone: TinyFusionVideo) -> list[list[nn.Module]]:
    """A block runs once for each chunk of frames, its adapter once after them: together they are gathered once."""
    return [list(pair) for pair in zip(backbone.dit.blocks, backbone.adapters, strict=True)]


ARCHITECTURE = Architecture(build=build_tinyfusion, read=read_tinyfusion, units=block_with_adapter)
