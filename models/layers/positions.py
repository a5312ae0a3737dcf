"""Fixed sine-cosine codes of where a token lies: in a square raster of patches, and among the frames of a clip."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MAX_PERIOD = 10_000.0  # longest wave length of the published tables, in units of 2 pi patches


def sincos_positions(width: int, grid: int) -> Tensor:
    """Fixed 2-D sine-cosine positions of a ``grid`` x ``grid`` raster, row by row: (grid * grid, width) float32.

    Vaswani et al. 2017, section 3.5, once per axis, in the layout of the published tables: channels [0, width/2) hold
    the column x, the rest the row y; each half is [sin(pos omega_k), cos(pos omega_k)] with
    omega_k = 10000^(-k / (width/4)), k < width/4. Made in float64.
    """
    return _raster(MAX_PERIOD ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4)), width, grid)


def fitted_positions(width: int, grid: int) -> Tensor:
    """As ``sincos_positions``, with wave lengths that fit the grid: from 2 to ``2 * grid`` patches, amplitude sqrt(2).

    The published table's wave lengths reach 2 pi 10000 patches: on a 4 x 4 grid most of its channels are constant, and
    6 % of its energy tells patches apart. ``benchmarks/positions.py`` shows what that costs. (N, width) float32.
    """
    exponent = torch.arange(width // 4, dtype=torch.float64) / max(1, width // 4 - 1)
    return math.sqrt(2) * _raster(math.pi * (1 / grid) ** exponent, width, grid)


def _raster(omega: Tensor, width: int, grid: int) -> Tensor:
    """Sines and cosines of the column, then of the row, for ``width / 4`` angular frequencies per patch."""
    assert width % 4 == 0, f"width {width} is no multiple of 4"
    angle = torch.outer(torch.arange(grid, dtype=torch.float64), omega)
    axis = torch.cat([angle.sin(), angle.cos()], dim=1)  # (grid, width/2)
    column = axis.expand(grid, grid, width // 2)  # [y, x] -> axis[x]
    row = axis.unsqueeze(1).expand(grid, grid, width // 2)  # [y, x] -> axis[y]
    return torch.cat([column, row], dim=2).reshape(grid * grid, width).float()


def fitted_frames(num_frames: int, width: int) -> Tensor:
    """Sines, then cosines of the frame's number, wave lengths from 2 to 2 F frames, amplitude sqrt(2).

    Vaswani et al. 2017, section 3.5, with wave lengths that fit the clip, as ``fitted_positions`` does for the grid.
    (F, width) float32.
    """
    exponent = torch.arange(width // 2, dtype=torch.float64) / max(1, width // 2 - 1)
    angle = torch.outer(torch.arange(num_frames, dtype=torch.float64), math.pi * (1 / num_frames) ** exponent)
    return math.sqrt(2) * torch.cat([angle.sin(), angle.cos()], dim=1).float()
