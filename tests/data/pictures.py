"""Pictures and clips that tests of files are made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from utils.gif import scan


def gradient(side: int = 64) -> np.ndarray:
    """(side, side, 3) uint8: smooth colour, all pixels different."""
    y, x = np.mgrid[0:side, 0:side] / (side - 1)
    return np.stack([255 * x, 255 * y, 255 * (1 - x) * (0.5 + 0.5 * y)], axis=-1).round().astype(np.uint8)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def delays_of(gif: Path) -> list[int]:
    """Milliseconds of each frame."""
    return scan(gif, gif.read_bytes()).delays
