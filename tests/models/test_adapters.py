"""models/layers/adapters.py against torch's own attention, closed forms and a convolution written out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from models.layers.adapters import (
    CrossAttention,
    SpaceTimeAdapter,
    TemporalConvolution,
    TextProjection,
    maybe_checkpoint,
)
from models.layers.positions import fitted_frames, fitted_positions
from models.text_features import TextFeatures

B, F, N, D, R, L = 2, 5, 9, 48, 32, 6  # N a 3 x 3 grid


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def text_mask() -> Tensor:
    """(B, L): four and two real tokens."""
    return torch.arange(L)[None] < torch.tensor([4, 2])[:, None]


def randomised(module: nn.Module, std: float = 0.3) -> nn.Module:
    """Every parameter random, so that no path is switched off."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * std)
    return module


def adapter() -> SpaceTimeAdapter:
    return SpaceTimeAdapter(D, R, num_heads=2, num_frames=F, positions=fitted_positions(R, 3))


def test_frame_codes_have_waves_from_two_frames_to_twice_the_clip() -> None:
    table = fitted_frames(7, 10)
    assert table.shape == (7, 10) and table.dtype == torch.float32
    for frame in range(7):
        for k in range(5):
            angle = 2 * math.pi * frame / (2 * 7 ** (k / 4))
            assert float(table[frame, k]) == pytest.approx(math.sqrt(2) * math.sin(angle), abs=1e-6)
            assert float(table[frame, 5 + k]) == pytest.approx(math.sqrt(2) * math.cos(angle), abs=1e-6)


def test_adapters_are_the_identity_at_the_start() -> None:
    x, text = randn(B, F, N, D), randn(B, L, R, seed=1)
    assert torch.equal(adapter()(x, text, text_mask()), x)
    assert torch.equal(TemporalConvolution(D, 8)(x), x)


def test_an_adapter_at_the_start_still_learns() -> None:
    layer, x = adapter(), randn(B, F, N, D)
    layer(x, randn(B, L, R, seed=1), text_mask()).square().sum().backward()
    assert layer.up.weight.grad is not None and bool(layer.up.weight.grad.any())


def test_cross_attention_is_that_of_torch() -> None:
    ours = randomised(CrossAttention(R, 4))
    theirs = nn.MultiheadAttention(R, 4, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.q.weight, ours.kv.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.q.bias, ours.kv.bias]))
        theirs.out_proj.weight.copy_(ours.proj.weight)
        theirs.out_proj.bias.copy_(ours.proj.bias)
    x, text, mask = randn(B, N, R), randn(B, L, R, seed=1), text_mask()
    wanted, _ = theirs(x, text, text, key_padding_mask=~mask, need_weights=False)
    torch.testing.assert_close(ours(x, text, mask), wanted, atol=2e-5, rtol=1e-5)


def test_cross_attention_never_looks_at_padding() -> None:
    layer, x, mask = randomised(CrossAttention(R, 4)), randn(B, N, R), text_mask()
    text = randn(B, L, R, seed=1)
    other = torch.where(mask[..., None], text, 1e4 * randn(B, L, R, seed=2))
    assert torch.equal(layer(x, text, mask), layer(x, other, mask))
    torch.testing.assert_close(layer(x[1:], text[1:, :2], mask[1:, :2]), layer(x, text, mask)[1:])


def test_an_adapter_sees_all_frames_at_its_own_position() -> None:
    layer = randomised(adapter(), std=0.1)
    x, text, mask = randn(B, F, N, D), randn(B, L, R, seed=1), text_mask()
    perturbed = x.clone()
    perturbed[0, 2, 4] += randn(D, seed=5)
    change = (layer(perturbed, text, mask) - layer(x, text, mask)).detach().abs().amax(-1)  # (B, F, N)
    assert bool((change[0, :, 4] > 1e-4).all())  # every frame of that position
    change[0, :, 4] = 0
    assert float(change.max()) < 1e-5  # no other position, no other clip


def test_an_adapter_knows_the_order_of_frames() -> None:
    layer = randomised(adapter(), std=0.1)
    x, text, mask = randn(B, F, N, D), randn(B, L, R, seed=1), text_mask()
    assert (layer(x.flip(1), text, mask).flip(1) - layer(x, text, mask)).abs().max().item() > 1e-3


def test_an_adapter_follows_the_text_and_ignores_its_padding() -> None:
    layer = randomised(adapter(), std=0.1)
    x, mask, text = randn(B, F, N, D), text_mask(), randn(B, L, R, seed=1)
    other = randn(B, L, R, seed=2)
    assert (layer(x, other, mask) - layer(x, text, mask)).abs().max().item() > 1e-3
    padded = torch.where(mask[..., None], text, other)
    assert torch.equal(layer(x, padded, mask), layer(x, text, mask))


def test_the_temporal_convolution_is_a_sum_over_the_27_neighbours() -> None:
    layer = randomised(TemporalConvolution(D, 8))
    x = randn(B, F, N, D)
    h = layer.down(x).unflatten(2, (3, 3))  # (B, F, 3, 3, 8)
    padded = nn.functional.pad(h, (0, 0, 1, 1, 1, 1, 1, 1))  # zeros around frames, rows and columns
    total = layer.conv.bias.expand(B, F, 3, 3, 8)
    for i in range(3):
        for j in range(3):
            for k in range(3):
                neighbour = padded[:, i : i + F, j : j + 3, k : k + 3]
                total = total + torch.einsum("bfhwc,oc->bfhwo", neighbour, layer.conv.weight[:, :, i, j, k])
    wanted = x + layer.up(total * torch.sigmoid(total)).flatten(2, 3)
    torch.testing.assert_close(layer(x), wanted, atol=1e-4, rtol=1e-4)


def test_text_becomes_a_conditioning_vector_and_adapter_tokens() -> None:
    layer = TextProjection(24, D, R)
    text = TextFeatures(randn(B, L, 24), text_mask(), randn(B, 24, seed=1))
    pooled, tokens = layer(text)
    assert pooled.shape == (B, D) and tokens.shape == (B, L, R)


def test_checkpointing_a_layer_changes_neither_output_nor_gradient() -> None:
    layer, results = randomised(adapter(), std=0.1), []
    for enabled in (False, True):
        x = randn(B, F, N, D).requires_grad_()
        layer.zero_grad()
        out = maybe_checkpoint(layer, x, randn(B, L, R, seed=1), text_mask(), enabled=enabled)
        out.square().sum().backward()
        results.append((out.detach(), x.grad, layer.down.weight.grad.clone()))
    for plain, recomputed in zip(*results, strict=True):
        assert torch.equal(plain, recomputed)
