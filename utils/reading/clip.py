"""What every reader gives: pictures that stand upright on white, with square pixels and the wanted shorter side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from utils.reading.timeline import Timeline

MAX_ASPECT = 16  # longer side over shorter; more is damage, and takes memory without end


class Picture(NamedTuple):
    """``pixels`` (h, w, 3) uint8; ``size`` (width, height) px as it is shown at full size; ``rotation`` in degrees that
    the file asked for."""

    pixels: np.ndarray
    size: tuple[int, int]
    rotation: int = 0


class Source(Protocol):
    """An open clip, a context manager."""

    path: Path
    timeline: Timeline
    remarks: list[str]

    def __enter__(self) -> Source: ...

    def __exit__(self, *_: object) -> None: ...

    def pictures(self, indices: list[int], *, side: int, square: bool = False) -> Iterator[Picture]:
        """The frames ``indices`` (rising) of the timeline, the shorter side at ``side`` px; ``square``: their middle.

        Raises:
            VideoError: one of them cannot be decoded.
        """


def fit(width: int, height: int, side: int) -> tuple[int, int]:
    """(width, height) with the shorter one at ``side``, in the same proportion.

    Raises:
        ValueError: no picture, or far longer one way than the other.
    """
    if min(width, height) < 1 or max(width, height) > MAX_ASPECT * min(width, height):
        raise ValueError(f"{width}x{height} px; wanted sides of at most {MAX_ASPECT} to 1")
    scale = side / min(width, height)
    return max(side, round(width * scale)), max(side, round(height * scale))


def middle(width: int, height: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the square in the middle."""
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def on_white(pixels: np.ndarray) -> np.ndarray:
    """(h, w, 4) uint8 with alpha -> (h, w, 3) uint8 over white."""
    alpha = pixels[..., 3:].astype(np.uint16)
    return ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
