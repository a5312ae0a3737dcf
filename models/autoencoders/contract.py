"""What the rest of the house must know of an autoencoder. It is frozen once it is fitted, and runs in float32."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from config import UserError
from utils.video import batch_to_frames, frames_to_batch

FRAMES_AT_ONCE = 16


class AutoencoderError(UserError):
    """An autoencoder that is not there, is another one, or does not fit the settings."""


class Autoencoder(nn.Module):
    """Frames -> latents of ``channels`` for each cell of ``factor`` x ``factor`` px, and back, frame by frame.

    Its state dict is what a checkpoint keeps of it: all that cannot be had from its name again, and what tells another
    one of that name apart.
    """

    channels: int
    factor: int  # px

    def fit(self, clips: Iterable[Tensor]) -> str:
        """Learn from training clips (B, 3, F, H, W) in [-1, 1], if it learns; returns the words for what became of it.

        Those that come from elsewhere learn nothing.
        """
        return ""

    @abstractmethod
    def encode_frames(self, frames: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1] -> (N, channels, H / factor, W / factor)."""

    @abstractmethod
    def decode_frames(self, latents: Tensor) -> Tensor:
        """The inverse of ``encode_frames``, as far as there is one; values may lie outside [-1, 1]."""

    def encode(self, video: Tensor) -> Tensor:
        """(B, 3, F, H, W) in [-1, 1] -> (B, channels, F, H / factor, W / factor) float32."""
        return _in_chunks(self.encode_frames, video)

    def decode(self, latents: Tensor) -> Tensor:
        """(B, channels, F, h, w) -> (B, 3, F, h * factor, w * factor) float32."""
        return _in_chunks(self.decode_frames, latents)


@torch.no_grad()
def _in_chunks(convert: Callable[[Tensor], Tensor], clips: Tensor) -> Tensor:
    """``convert`` over FRAMES_AT_ONCE frames at a time, whatever autocast says around it."""
    with torch.autocast(clips.device.type, enabled=False):
        chunks = [convert(chunk) for chunk in frames_to_batch(clips.float()).split(FRAMES_AT_ONCE)]
    return batch_to_frames(torch.cat(chunks), clips.shape[2])
