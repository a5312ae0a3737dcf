"""The loss where the motion is: 87 % of a signer's pixels stand still and carry no sign."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

MOVES = 25 / 127.5  # of [-1, 1]: a pixel moves in a frame that differs by more from its median over time
AROUND = 5  # px, side of the square around a moving pixel that counts with it: the edges of a hand


@torch.no_grad()
def moving(video: Tensor, *, cell: int = 1) -> Tensor:
    """(B, 3, F, H, W) in [-1, 1] -> (B, 1, F, H, W) float32: 1 on and around the pixels that move, 0 elsewhere.

    With latents whose cells are of ``cell`` px on a side it is (B, 1, F, H / cell, W / cell), for the cells that hold
    some of what moves in the clip at two pixels a cell.
    """
    if cell > 1:
        half = cell // 2 if cell % 2 == 0 else cell
        coarse = functional.avg_pool3d(video, (1, half, half))
        return functional.max_pool3d(moving(coarse), (1, cell // half, cell // half))
    still = video.median(dim=2, keepdim=True).values
    moves = ((video - still).abs().amax(dim=1, keepdim=True) > MOVES).float()
    return functional.max_pool3d(moves, (1, AROUND, AROUND), stride=1, padding=(0, AROUND // 2, AROUND // 2))


@torch.no_grad()
def motion_weights(video: Tensor, extra: float, *, cell: int = 1) -> Tensor:
    """Shaped as ``moving``: 1 + ``extra`` on and around what moves, over its mean in the clip: every clip's is 1."""
    weights = 1 + extra * moving(video, cell=cell)
    return weights / weights.mean(dim=(1, 2, 3, 4), keepdim=True)
