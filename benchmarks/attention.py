"""Plain matrix products against the fused attention kernel, forward and backward, by sequence length.

    python -m benchmarks.attention         # seconds

Why ``models/layers.py`` chooses by length (SHORT_SEQUENCE). Ratios above 1: plain is faster.
"""

from __future__ import annotations

import time

import torch
from timm.models.vision_transformer import Attention

from benchmarks.machine import write_result
from utils.runtime import resolve_device, resolve_precision

WIDTH, HEADS, TOKENS = 192, 3, 4096  # the demo's block, at an equal number of tokens


def seconds(attention: Attention, x: torch.Tensor, dtype: torch.dtype | None, *, repeats: int = 7) -> float:
    """Median of a forward and backward pass under autocast."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        with torch.autocast(x.device.type, dtype=dtype, enabled=dtype is not None):
            out = attention(x)
        out.float().square().sum().backward()
        if x.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return sorted(times)[repeats // 2]


def main() -> None:
    """One row a sequence length; ``results/attention.json``."""
    device = resolve_device("auto")
    dtype = resolve_precision("auto", device)
    rows = {}
    print(f"{device}, {dtype or 'float32'}\n{'tokens':>8}{'fused':>12}{'plain':>12}{'ratio':>8}")
    for length in (16, 64, 256, 1024):
        attention = Attention(WIDTH, num_heads=HEADS, qkv_bias=True).to(device)
        x = torch.randn(TOKENS // length, length, WIDTH, device=device, requires_grad=True)
        both = []
        for fused in (True, False):
            attention.fused_attn = fused
            both.append(seconds(attention, x, dtype))
        rows[length] = {"fused_ms": 1e3 * both[0], "plain_ms": 1e3 * both[1], "ratio": both[0] / both[1]}
        print(f"{length:>8}{1e3 * both[0]:>9.1f} ms{1e3 * both[1]:>9.1f} ms{both[0] / both[1]:>8.2f}")
    write_result("attention", "python -m benchmarks.attention", {"dtype": str(dtype), "rows": rows})


if __name__ == "__main__":
    main()
