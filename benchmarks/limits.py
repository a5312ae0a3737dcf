"""What the machine can do at best: matrix products and copies, measured as often as what is held against them.

A product is laid out as a linear layer: (rows x inputs) times the transpose of (outputs x inputs), plus a bias.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import torch
from torch.nn import functional

from benchmarks.timing import seconds
from utils.runtime import synchronise

SIDES = {"cpu": (1024, 2048, 4096), "cuda": (4096, 8192, 16384)}  # of square products
COPY_BYTES = {"cpu": 2**28, "cuda": 2**30}  # well beyond any cache
BURST = 0.1  # seconds of products at a stretch, so that neither launching nor a short boost of the clock counts
NUM_BURSTS = 3


class Product(NamedTuple):
    """A linear layer over ``rows`` tokens."""

    rows: int
    inputs: int
    outputs: int

    @property
    def flops(self) -> int:
        """2 for a multiply-add; the bias is not counted."""
        return 2 * self.rows * self.inputs * self.outputs

    def __str__(self) -> str:
        return f"({self.rows} x {self.inputs}) ({self.inputs} x {self.outputs})"


class Limits:
    """The ceilings of one device; each ``measure`` adds a round, and the best of all rounds is the ceiling."""

    def __init__(self, device: torch.device, own: list[Product], dtypes: tuple[torch.dtype, ...]) -> None:
        """``own``: the shapes of the model that is held against them, beside square ones."""
        self.device, self.dtypes = device, dtypes
        squares = [Product(side, side, side) for side in SIDES.get(device.type, SIDES["cpu"])]
        self.products = list(dict.fromkeys([*squares, *own]))
        self.rounds: list[dict[str, dict[str, float]]] = []
        self.copies: list[float] = []

    @torch.no_grad()
    def measure(self) -> None:
        """One round: operations per second of every product in every dtype, bytes per second of a copy."""
        found = {short(dtype): {str(p): self._product(p, dtype) for p in self.products} for dtype in self.dtypes}
        self.rounds.append(found)
        self.copies.append(self._copy())

    def best(self, dtype: torch.dtype) -> float:
        """Operations per second of the best product in any round."""
        return max(self.of_rounds(dtype))

    def of_rounds(self, dtype: torch.dtype) -> list[float]:
        """The best of each round: how much the machine drifted."""
        return [max(found[short(dtype)].values()) for found in self.rounds]

    def to_dict(self) -> dict[str, object]:
        best = {
            name: {product: max(found[name][product] for found in self.rounds) / 1e12 for product in products}
            for name, products in self.rounds[0].items()
        }
        return {
            "tflops": {short(dtype): self.best(dtype) / 1e12 for dtype in self.dtypes},
            "tflops_of_rounds": {short(d): [rate / 1e12 for rate in self.of_rounds(d)] for d in self.dtypes},
            "tflops_of_products": best,
            "copy_gb_per_s": max(self.copies) / 1e9,
            "copy_gb_per_s_of_rounds": [rate / 1e9 for rate in self.copies],
        }

    def _product(self, product: Product, dtype: torch.dtype) -> float:
        x = torch.randn(product.rows, product.inputs, device=self.device).to(dtype)
        weight = torch.randn(product.outputs, product.inputs, device=self.device).to(dtype)
        bias = torch.zeros(product.outputs, device=self.device, dtype=dtype)
        functional.linear(x, weight, bias)  # the first one chooses kernels
        return max(self._burst(x, weight, bias) for _ in range(NUM_BURSTS)) * product.flops

    def _burst(self, *operands: torch.Tensor) -> float:
        """Products per second."""
        synchronise(self.device)
        start = time.perf_counter()
        number, pack = 0, 1
        while True:
            for _ in range(pack):
                functional.linear(*operands)
            number += pack
            synchronise(self.device)
            elapsed = time.perf_counter() - start
            if elapsed >= BURST:
                return number / elapsed
            pack = number  # so waiting for a GPU is rare

    def _copy(self) -> float:
        """Bytes read and written per second."""
        size = COPY_BYTES.get(self.device.type, COPY_BYTES["cpu"])
        source = torch.ones(size // 4, device=self.device)
        target = torch.empty_like(source).copy_(source)
        return 2 * size / min(seconds(lambda: target.copy_(source), self.device) for _ in range(5))


def short(dtype: torch.dtype) -> str:
    """``torch.bfloat16`` -> ``bfloat16``."""
    return str(dtype).removeprefix("torch.")
