"""models/layers/attention.py: one formula, three ways, against the formula in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.layers import attention
from models.layers.attention import SHORT_SEQUENCE, attend

B, H, N, D = 2, 3, 40, 8


def parts(length: int, dtype: torch.dtype) -> list[Tensor]:
    """q (B, H, N, D), k and v (B, H, length, D)."""
    draw = torch.Generator().manual_seed(length)
    return [torch.randn(B, H, n, D, generator=draw).to(dtype) for n in (N, length, length)]


def exact(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """The formula, written out in float64."""
    q, k, v = q.double(), k.double(), v.double()
    scores = torch.einsum("bhnd,bhld->bhnl", q, k) / D**0.5
    weights = scores.exp() if mask is None else scores.exp() * mask
    return torch.einsum("bhnl,bhld->bhnd", weights / weights.sum(3, keepdim=True), v)


@pytest.mark.parametrize("length", [1, 6, SHORT_SEQUENCE, SHORT_SEQUENCE + 1, 200])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("with_gradient", [False, True])
def test_every_way_is_the_formula(length: int, dtype: torch.dtype, with_gradient: bool) -> None:
    q, k, v = parts(length, dtype)
    with torch.set_grad_enabled(with_gradient):
        found = attend(q, k, v)
    assert found.dtype == dtype
    tolerance = 1e-6 if dtype is torch.float32 else 3e-2
    torch.testing.assert_close(found.double(), exact(q, k, v), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("length", [6, SHORT_SEQUENCE + 30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_hidden_keys_are_never_looked_at(length: int, dtype: torch.dtype) -> None:
    q, k, v = parts(length, dtype)
    mask = torch.arange(length)[None] < torch.tensor([[4], [2]])  # (B, L)
    mask = mask[:, None, None, :]
    tolerance = 1e-6 if dtype is torch.float32 else 3e-2
    with torch.no_grad():
        found = attend(q, k, v, mask)
        torch.testing.assert_close(found.double(), exact(q, k, v, mask), atol=tolerance, rtol=tolerance)
        other = torch.where(mask.transpose(2, 3), v, 1e4)
        assert torch.equal(attend(q, k, other, mask), found)


@pytest.mark.parametrize("scores", [1, N * 200, 3 * N * 200, 10**9])
def test_the_number_of_heads_at_a_time_changes_nothing(scores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = parts(200, torch.bfloat16)
    with torch.no_grad():
        wanted = attend(q, k, v)
        monkeypatch.setattr(attention, "CACHED_SCORES", scores)
        assert torch.equal(attend(q, k, v), wanted)


def test_more_sequences_than_a_gpu_takes_go_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(7, H, 5, D, generator=draw) for _ in range(3))
    monkeypatch.setattr(attention, "MOST_SEQUENCES", 3)
    torch.testing.assert_close(attention._in_parts(q, k, v), attend(q, k, v))
