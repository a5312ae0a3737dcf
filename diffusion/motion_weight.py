"""The loss where the motion is: 87 % of a signer's pixels stand still and carry no sign."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

MOVES = 25 / 127.5  # of [-1, 1]: a pixel moves in a frame that differs by more from its median over time
AROUND = 5  # px, side of the square around a moving pixel that counts with it: the edges of a hand


@torch.no_grad()
def moving(video: Tensor) -> Tensor:
    """(B, 3, F, H, W) in [-1, 1] -> (B, 1, F, H, W) float32: 1 on and around the pixels that move, 0 elsewhere."""
    still = video.median(dim=2, keepdim=True).values
    moves = ((video - still).abs().amax(dim=1, keepdim=True) > MOVES).float()
    return functional.max_pool3d(moves, (1, AROUND, AROUND), stride=1, padding=(0, AROUND // 2, AROUND // 2))


@torch.no_grad()
def motion_weights(video: Tensor, extra: float) -> Tensor:
    """(B, 1, F, H, W): 1 + ``extra`` on and around what moves, over its mean in the clip: every clip's is 1."""
    weights = 1 + extra * moving(video)
    return weights / weights.mean(dim=(1, 2, 3, 4), keepdim=True)
