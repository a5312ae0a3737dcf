"""models/layers/vit.py: timm's layers are what models consist of, and our kernel in them gives the same bits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm.models.vision_transformer as timm_layers
import torch
from torch import Tensor, nn

from external.TinyFusion.dit import DiT
from models.layers.attention import SHORT_SEQUENCE
from models.layers.vit import Block, self_attention

B, D, HEADS = 2, 64, 4
SHORT, LONG = 12, SHORT_SEQUENCE + 20  # tokens

PAIRS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {  # name -> (ours, timm's)
    "attention": (lambda: self_attention(D, HEADS), lambda: timm_layers.Attention(D, num_heads=HEADS, qkv_bias=True)),
    "block": (lambda: Block(D, HEADS), lambda: timm_layers.Block(D, HEADS, qkv_bias=True)),
}


def test_the_published_model_consists_of_timms_layers() -> None:
    dit = DiT(input_size=8, hidden_size=D, depth=1, num_heads=HEADS)
    assert isinstance(dit.x_embedder, timm_layers.PatchEmbed)
    assert isinstance(dit.blocks[0].attn, timm_layers.Attention) and isinstance(dit.blocks[0].mlp, timm_layers.Mlp)


def twins(name: str, *, num_tokens: int = SHORT) -> tuple[nn.Module, nn.Module]:
    """Ours and timm's, each drawn from the same seed; timm's is told the way that ours chooses by itself."""
    found = []
    for make in PAIRS[name]:
        torch.manual_seed(0)
        module = make()
        for part in module.modules():
            if hasattr(part, "fused_attn"):
                part.fused_attn = num_tokens > SHORT_SEQUENCE
        found.append(module)
    return found[0], found[1]


def inputs(num_tokens: int) -> Tensor:
    return torch.randn(B, num_tokens, D, generator=torch.Generator().manual_seed(1))


def results(module: nn.Module, x: Tensor, *more: Tensor) -> list[Tensor]:
    """The output and every gradient."""
    x = x.clone().requires_grad_()
    out = module(x, *more)
    out.float().square().sum().backward()
    return [out, x.grad, *(parameter.grad for parameter in module.parameters())]


@pytest.mark.parametrize("name", PAIRS)
def test_names_shapes_and_first_weights_are_timms(name: str) -> None:
    ours, theirs = (module.state_dict() for module in twins(name))
    assert list(ours) == list(theirs)
    for key, value in ours.items():
        assert torch.equal(value, theirs[key]), key


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("num_tokens", [SHORT, LONG])
@pytest.mark.parametrize("name", PAIRS)
def test_outputs_and_gradients_are_timms_to_the_bit(name: str, num_tokens: int, dtype: torch.dtype | None) -> None:
    x = inputs(num_tokens)
    with torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        ours, theirs = (results(module, x) for module in twins(name, num_tokens=num_tokens))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("num_tokens", [SHORT, LONG])
@pytest.mark.parametrize("name", PAIRS)
def test_masked_tokens_are_never_looked_at_and_the_rest_is_timms(name: str, num_tokens: int) -> None:
    mask = (torch.arange(num_tokens) < torch.tensor([num_tokens, 5])[:, None])[:, None, None, :]  # (B, 1, 1, N)
    x = inputs(num_tokens)
    ours, theirs = (results(module, x, mask) for module in twins(name, num_tokens=num_tokens))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    changed = x.clone()
    changed[1, 5:] += 1
    module = twins(name)[0]
    assert torch.equal(module(x, mask)[1, :5], module(changed, mask)[1, :5])
