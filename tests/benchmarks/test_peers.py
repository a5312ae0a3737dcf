"""benchmarks/plain.py against the model whose layers it drives, and Latte's size beside ours."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchmarks.latte import MODELS, NUM_STEPS, Size
from benchmarks.peers import check_equal, counted, latte_inputs
from benchmarks.plain import PlainVideo
from benchmarks.workload import wake
from tests.models.test_architectures import build, debug, inputs, nudged

SMALL = Size(width=64, depth=2, side=8, patch=2, frames=3, adapter_width=32, chunk=3, text_width=24)


def gradients(model: nn.Module, backbone: nn.Module, arguments: tuple) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    backbone(*arguments).square().mean().backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_plain_design_gives_our_output_and_our_gradients(checkpointing: bool) -> None:
    """Several clips, a chunk size that leaves a rest, padded texts."""
    config = debug("tinyfusion", TINYFUSION_FRAME_CHUNK_SIZE=4, GRADIENT_CHECKPOINTING=checkpointing)
    model = nudged(build(config))
    plain, arguments = PlainVideo(model), inputs(config)
    with torch.no_grad():
        torch.testing.assert_close(plain(*arguments), model(*arguments), atol=1e-5, rtol=1e-5)
    ours, theirs = gradients(model, model, arguments), gradients(model, plain, arguments)
    for name, gradient in ours.items():
        torch.testing.assert_close(theirs[name], gradient, atol=1e-6, rtol=1e-3)


def test_the_plain_design_computes_the_conditioning_of_every_frame() -> None:
    config = debug("tinyfusion")
    model, calls = nudged(build(config)), []
    model.text.register_forward_hook(lambda *_: calls.append("text"))
    model.dit.t_embedder.register_forward_hook(lambda *_: calls.append("time"))
    model.dit.blocks[0].register_forward_hook(lambda *_: calls.append("block"))
    model.adapters[0].cross.kv.register_forward_hook(lambda *_: calls.append("keys and values"))
    PlainVideo(model)(*inputs(config))
    assert sorted(calls) == sorted(["text", "time", "block", "keys and values"] * config.NUM_FRAMES)


def test_another_function_is_not_taken_for_rounding() -> None:
    ours = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert check_equal(ours, ours.bfloat16().float(), torch.bfloat16) < 0.02
    for dtype in (None, torch.bfloat16):
        with pytest.raises(AssertionError):
            check_equal(ours, ours + 0.2, dtype)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_of_the_comparison_sees_all_tokens_and_learns(name: str) -> None:
    if name.startswith("latte"):
        pytest.importorskip("diffusers")
    torch.manual_seed(0)
    backbone = MODELS[name](SMALL, checkpointing=True)
    wake(backbone)
    x_t, t, text = latte_inputs(SMALL, torch.device("cpu"))
    assert 0 <= int(t) < NUM_STEPS
    seen: set[int] = set()
    for layer in backbone.modules():
        if isinstance(layer, nn.Linear) and layer.out_features == 4 * SMALL.width:
            layer.register_forward_hook(lambda layer, args, out: seen.add(out.numel() // out.shape[-1]))
    out = backbone(x_t, t, text)
    assert out.shape == x_t.shape and SMALL.num_tokens == 3 * 16
    assert seen == {SMALL.num_tokens}
    out.square().mean().backward()
    assert all(p.grad is not None for p in backbone.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_of_the_comparison_is_counted_without_computing(name: str) -> None:
    if name.startswith("latte"):
        pytest.importorskip("diffusers")
    backbone = MODELS[name](SMALL, checkpointing=False)
    arguments = latte_inputs(SMALL, torch.device("cpu"))
    forward, both = (counted(backbone, arguments, backward=backward) for backward in (False, True))
    mlp = [p for n, p in backbone.named_parameters() if (".mlp.fc" in n or ".ff.net" in n) and p.dim() == 2]
    assert forward > 2 * SMALL.num_tokens * sum(p.numel() for p in mlp) > 0
    assert 2.5 * forward < both < 3 * forward
    assert all(p.grad is None for p in backbone.parameters())
