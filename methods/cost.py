"""What the machine could do, and what the model's graph is drawn of."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from config import Config, make_config
from diffusion.text2sign import create_text2sign
from models.text_encoder import TextEncoder
from models.text_features import TextFeatures
from utils import runtime

MAX_SIDE = 8192  # of the matrices that the peak is measured with
LONG_ENOUGH = 2e-3  # seconds of one product, so that launching it does not count
NUM_PRODUCTS = 10


def matmul_peak(device: torch.device, dtype: torch.dtype | None) -> float:
    """Operations per second of the best of a few square products, in the dtype that autocast uses (None: float32).

    Their side doubles until one product takes LONG_ENOUGH, so the measurement takes well under a second.
    """
    draw = torch.Generator().manual_seed(0)
    side = 256
    while True:
        matrix = torch.randn(side, side, generator=draw).to(device, dtype or torch.float32)
        matrix @ matrix  # the first one chooses kernels
        seconds = min(_seconds(matrix) for _ in range(NUM_PRODUCTS))
        if seconds >= LONG_ENOUGH or side >= MAX_SIDE:
            return 2 * side**3 / seconds
        side *= 2


def _seconds(matrix: Tensor) -> float:
    runtime.synchronise(matrix.device)
    start = time.perf_counter()
    matrix @ matrix
    runtime.synchronise(matrix.device)
    return time.perf_counter() - start


class Backbone(nn.Module):
    """A backbone whose inputs are tensors alone, as tracing wants them."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x_t: Tensor, t: Tensor, tokens: Tensor, mask: Tensor, pooled: Tensor) -> Tensor:
        return self.backbone(x_t, t, TextFeatures(tokens, mask, pooled))


def small_copy(config: Config, encoder: TextEncoder) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The same architecture at the size of the debug preset, and inputs to trace it with: its graph in a second."""
    debug = make_config("debug", {"MODEL_ARCHITECTURE": config.MODEL_ARCHITECTURE})
    model = create_text2sign(debug, encoder)
    text = TextFeatures.blank(1, 2, encoder.width)
    inputs = torch.zeros(1, *debug.INPUT_SHAPE), torch.zeros(1, dtype=torch.int64)
    return Backbone(model.backbone), (*inputs, text.tokens, text.mask, text.pooled)
