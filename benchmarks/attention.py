"""The ways to reckon softmax attention, by sequence length, in one run.

    python -m benchmarks.attention         # a minute

Why ``models/layers/attention.py`` chooses as it does. Ratios above 1: faster than the fused kernel. "A few heads
at a time" is for passes without gradient; no way but the fused kernel avoids storing the scores in training.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.machine import write_result
from models.layers.attention import _few_heads_at_a_time, _plain
from utils.runtime import resolve_device, resolve_precision, synchronise

HEADS, HEAD_WIDTH, TOKENS = 16, 72, 4096  # the default's block, a chunk of 4 frames, cut into sequences
WAYS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "fused": functional.scaled_dot_product_attention,
    "plain": _plain,
    "few heads": _few_heads_at_a_time,
}


def seconds(way: Callable[[Tensor, Tensor, Tensor], Tensor], qkv: Tensor, *, gradient: bool) -> float:
    """One pass of ``way`` over (3, B, H, N, d), with its backward pass if ``gradient``."""
    q, k, v = (part.detach().requires_grad_(gradient) for part in qkv.unbind(0))
    start = time.perf_counter()
    with torch.set_grad_enabled(gradient):
        out = way(q, k, v)
        if gradient:
            out.backward(torch.ones_like(out))
    synchronise(qkv.device)
    return time.perf_counter() - start


def main() -> None:
    """One row a sequence length and mode; ``results/attention.json``."""
    device = resolve_device("auto")
    dtype = resolve_precision("auto", device) or torch.float32
    rows = []
    print(
        f"{device}, {dtype}\n{'tokens':>8}{'gradient':>10}{'fused':>12}{'plain':>8}{'few heads':>11}   (times as fast)"
    )
    for length in (16, 64, 256, 1024):
        draw = torch.Generator().manual_seed(0)
        shape = (TOKENS // length, length, 3, HEADS, HEAD_WIDTH)  # as a linear layer leaves it
        qkv = torch.randn(shape, generator=draw).to(device, dtype).permute(2, 0, 3, 1, 4)
        for gradient in (True, False):
            ways = {name: way for name, way in WAYS.items() if not (gradient and name == "few heads")}
            rounds = [{name: seconds(way, qkv, gradient=gradient) for name, way in ways.items()} for _ in range(7)]
            best = {name: min(one[name] for one in rounds) for name in ways}
            ratios = {name: best["fused"] / value for name, value in best.items()}
            rows.append({"tokens": length, "gradient": gradient, "fused_ms": 1e3 * best["fused"], "ratios": ratios})
            shown = "".join(
                f"{ratios.get(name, float('nan')):>{width}.2f}" for name, width in (("plain", 8), ("few heads", 11))
            )
            print(f"{length:>8}{'yes' if gradient else 'no':>10}{1e3 * best['fused']:>9.1f} ms{shown}")
    write_result("attention", "python -m benchmarks.attention", {"dtype": str(dtype), "rows": rows})


if __name__ == "__main__":
    main()
