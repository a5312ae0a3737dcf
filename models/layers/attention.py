"""Softmax attention by the fastest of three ways to reckon the same formula. Imports torch only.

On a GPU the fused kernel. On a CPU, whose fused kernel is slow in bfloat16 (``benchmarks/attention.py``): plain
products for short sequences; for long ones, where no gradient is wanted, plain products for a few heads at a time, so
that their scores stay in the cache. A gradient would keep all scores, so training over long sequences is fused.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SHORT_SEQUENCE = 64  # tokens
MOST_SEQUENCES = 2**15  # at a time on a GPU, whose kernels have no more than 65,535 places for a batch
CACHED_SCORES = 2**21  # scores at a time: 4 MiB in bfloat16


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax(q k^T / sqrt(d)) v (Vaswani et al. 2017, eq. 1) over the keys where ``mask`` is True.

    q (B, H, N, d), k and v (B, H, L, d), mask broadcastable to (B, H, N, L) bool with one True a row at least, or None
    for all keys -> (B, H, N, d) in the dtype of ``v``.
    """
    if q.device.type == "cpu" and k.shape[2] <= SHORT_SEQUENCE:
        return _plain(q, k, v, mask)
    if mask is None and not torch.is_grad_enabled() and _is_slow_when_fused(q):
        return _few_heads_at_a_time(q, k, v)
    if q.device.type != "cpu" and mask is None and len(q) > MOST_SEQUENCES:
        return _in_parts(q, k, v)
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def _in_parts(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """``attend`` for MOST_SEQUENCES at a time."""
    parts = zip(*(tensor.split(MOST_SEQUENCES) for tensor in (q, k, v)), strict=True)
    return torch.cat([functional.scaled_dot_product_attention(*part) for part in parts])


def _is_slow_when_fused(q: Tensor) -> bool:
    """bfloat16 on a CPU; but a fake tensor, traced for a plan, takes time for each operator and none for its size."""
    return q.device.type == "cpu" and q.dtype is torch.bfloat16 and type(q) is Tensor


def _plain(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """``attend`` for any number of leading dimensions; the scores are stored."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (..., N, L)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1).to(v.dtype) @ v


def _few_heads_at_a_time(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """``attend`` without gradient, CACHED_SCORES or one head's at a time."""
    heads = [part.flatten(0, 1) for part in (q, k, v)]  # each (B H, N or L, d)
    size = max(1, CACHED_SCORES // (q.shape[2] * k.shape[2]))
    groups = zip(*(part.split(size) for part in heads), strict=True)
    return torch.cat([_plain(*group) for group in groups]).unflatten(0, q.shape[:2])
