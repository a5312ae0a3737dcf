"""A clip as a tensor in [-1, 1] and as uint8 frames; which frames are taken, and how they become squares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from config import UserError

if TYPE_CHECKING:
    from torch import Tensor  # which --help and the comment of a GIF shall not wait for


class VideoError(UserError):
    """A clip that cannot be read or converted."""


def frames_to_batch(video: Tensor) -> Tensor:
    """(B, C, F, H, W) -> (B * F, C, H, W), the frames of one clip side by side."""
    b, c, f, h, w = video.shape
    return video.transpose(1, 2).reshape(b * f, c, h, w)


def batch_to_frames(frames: Tensor, num_frames: int) -> Tensor:
    """(B * F, C, H, W) -> (B, C, F, H, W), the inverse of ``frames_to_batch``."""
    bf, c, h, w = frames.shape
    return frames.reshape(bf // num_frames, num_frames, c, h, w).transpose(1, 2)


def to_uint8(video: Tensor) -> np.ndarray:
    """(3, F, H, W) floating point in [-1, 1] -> (F, H, W, 3) uint8; values outside are clamped.

    Raises:
        VideoError: another shape, or NaN or infinity anywhere.
    """
    if video.ndim != 4 or video.shape[0] != 3:
        raise VideoError(f"A clip of shape {tuple(video.shape)} cannot become pixels; wanted (3, F, H, W).")
    bad = int((~video.isfinite()).sum())
    if bad:
        raise VideoError(f"{bad} of {video.numel()} values of a clip are NaN or infinite; wanted numbers in [-1, 1].")
    levels = (video.detach().float().clamp(-1.0, 1.0) + 1.0) * 127.5
    return levels.round().byte().permute(1, 2, 3, 0).contiguous().cpu().numpy()


def batch_from_uint8(clips: list[np.ndarray]) -> Tensor:
    """B clips of one shape (F, H, W, 3) uint8 -> (B, 3, F, H, W) float32 in [-1, 1], the inverse of ``to_uint8``.

    Raises:
        VideoError: another shape or type, or no clip at all.
    """
    if len({frames.shape for frames in clips}) != 1:
        raise VideoError(f"{len(clips)} clips cannot become a batch; wanted one or more of one shape.")
    for frames in clips:
        check_frames(frames)
    import torch

    f, h, w, c = clips[0].shape
    pixels = np.empty((len(clips), c, f, h, w), dtype=np.uint8)  # turned before they grow to four bytes each
    for row, frames in zip(pixels, clips, strict=True):
        row[...] = frames.transpose(3, 0, 1, 2)
    return torch.from_numpy(pixels).float().div_(127.5).sub_(1.0)


def frame_indices(num_source: int, num_frames: int) -> np.ndarray:
    """(num_frames,) int64: the source frames at the centres of ``num_frames`` equal intervals of the clip.

    A source that is shorter repeats its frames evenly.

    Raises:
        VideoError: either number is below 1.
    """
    if num_source < 1 or num_frames < 1:
        raise VideoError(f"Cannot take {num_frames} frames from a clip of {num_source}; wanted at least 1 of each.")
    return (2 * np.arange(num_frames, dtype=np.int64) + 1) * num_source // (2 * num_frames)


def resize_and_crop(frames: np.ndarray, size: int) -> np.ndarray:
    """(F, H, W, 3) uint8 -> (F, size, size, 3) uint8: the square in the middle, resized.

    Antialiased Lanczos downwards, bicubic upwards; frames of that size already come back unchanged.

    Raises:
        VideoError: another shape or type.
    """
    check_frames(frames)
    _, height, width, _ = frames.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = frames[:, top : top + side, left : left + side]
    if side == size:
        return np.ascontiguousarray(square)
    kernel = Image.Resampling.LANCZOS if side > size else Image.Resampling.BICUBIC
    return np.stack([np.asarray(Image.fromarray(np.ascontiguousarray(f)).resize((size, size), kernel)) for f in square])


def check_frames(frames: np.ndarray) -> None:
    """Raises:
    VideoError: not (F, H, W, 3) uint8, or empty.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise VideoError(f"Frames are {frames.dtype} of shape {frames.shape}; wanted uint8 (F, H, W, 3), none empty.")
