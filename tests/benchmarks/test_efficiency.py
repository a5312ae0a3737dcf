"""What benchmarks/efficiency.py counts and takes apart: operations in closed form, a loop whose cost is known."""

from __future__ import annotations

import statistics

import pytest
import torch
from torch import Tensor, nn

from benchmarks import timing
from benchmarks.flops import count, meta_copy, operations, own_products
from benchmarks.limits import Limits, Product
from benchmarks.loop import loop_cost
from benchmarks.profiling import KINDS, kind_of, profile
from benchmarks.workload import TrainingStep, Workload, preset
from diffusion.text2sign import Text2Sign
from external.TinyFusion.dit import DiTBlock
from models.text_features import TextFeatures
from schedulers.noise_schedulers import NoiseSchedule

CPU = torch.device("cpu")


def debug(**overrides: object) -> Workload:
    return preset("debug", DEVICE="cpu", **overrides)


def test_a_linear_layer_costs_two_operations_a_weight_and_row() -> None:
    layer, x = nn.Linear(5, 7).to("meta"), torch.empty(2, 3, 5, device="meta")
    assert count(lambda: layer(x)) == 2 * 6 * 5 * 7 == Product(6, 5, 7).flops
    assert count(lambda: layer(x), backward=True) == 2 * (2 * 6 * 5 * 7)  # the input wants no gradient
    assert count(lambda: layer(x.requires_grad_()), backward=True) == 3 * (2 * 6 * 5 * 7)


@pytest.mark.parametrize("tokens", [16, 256])  # plain products, the fused kernel
def test_a_block_costs_its_products_and_attention_in_closed_form(tokens: int) -> None:
    b, d = 3, 64
    block = DiTBlock(d, num_heads=2)
    block = meta_copy(block)
    x, modulation = torch.empty(b, tokens, d, device="meta"), torch.empty(b, 6, d, device="meta")
    layers = 2 * b * tokens * (3 + 1 + 4 + 4) * d * d
    attention = 2 * (2 * b * tokens * tokens * d)  # q k^T, and its product with v
    with torch.no_grad():
        assert count(lambda: block(x, modulation)) == layers + attention
    both = count(lambda: block(x.requires_grad_(), modulation), backward=True)
    assert both == 3 * (layers + attention)


def test_checkpointing_adds_the_second_forward_of_what_it_covers() -> None:
    plain, recomputed = (operations(debug(GRADIENT_CHECKPOINTING=on)) for on in (False, True))
    assert plain.training == plain.executed == recomputed.training
    assert plain.forward == recomputed.forward
    assert 0.6 * plain.forward < recomputed.executed - recomputed.training < plain.forward


def test_counting_leaves_the_setting_and_the_model_alone() -> None:
    work = debug(GRADIENT_CHECKPOINTING=True)
    operations(work)
    own_products(work)
    assert work.model.backbone.gradient_checkpointing is True
    assert all(p.grad is None and p.device == CPU for p in work.model.parameters())
    assert not any(module._forward_hooks for module in work.model.modules())


def test_the_shapes_to_measure_are_those_of_the_model_s_dearest_layers() -> None:
    """Debug size: two clips of 4 frames of 2 x 2 patches, two frames at a time, 64 channels."""
    found = own_products(debug())
    assert {Product(16, 64, 192), Product(16, 64, 256), Product(16, 256, 64)} <= set(found)
    assert found[-1].rows == 32  # all tokens of the batch


class Slow(nn.Module):
    """A backbone that takes 3 seconds a forward by a clock of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def forward(self, x_t: Tensor, t: Tensor, text: TextFeatures) -> Tensor:
        self.now += 3.0
        return torch.zeros_like(x_t)


@pytest.mark.parametrize(("guidance_scale", "forwards"), [(1.0, 1), (2.0, 2)])
def test_the_loop_s_own_share_is_what_is_spent_between_forwards(guidance_scale: float, forwards: int) -> None:
    """Five steps of one or two forwards of 3 s, and half a second between them."""
    backbone = Slow()
    model = Text2Sign(
        backbone, NoiseSchedule("cosine", 10), prediction_type="sample", clip_shape=(3, 2, 4, 4), text_width=6,
        standardise_clips=False, standardise_text=False,
    )  # fmt: skip

    def between() -> None:
        backbone.now += 0.5

    def sample() -> None:
        text = TextFeatures(torch.zeros(2, 1, 6), torch.ones(2, 1, dtype=torch.bool), torch.zeros(2, 6))
        draws = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
        model.sample(text, draws, num_steps=5, guidance_scale=guidance_scale, on_step=between)

    cost = loop_cost(sample, backbone, clock=lambda: backbone.now)
    assert (cost.num_forwards, cost.num_clips) == (5 * forwards, 2 * 5 * forwards)
    assert cost.forwards == 5 * forwards * 3.0
    assert cost.total == cost.forwards + 5 * 0.5
    assert cost.beyond == pytest.approx(2.5 / cost.total)
    assert not backbone._forward_hooks and not backbone._forward_pre_hooks


def test_calls_take_turns_and_a_long_first_call_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(timing, "BRIEF", 0.0)
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    assert {name: len(times) for name, times in timing.alternate(calls, CPU, repeats=3).items()} == {"a": 3, "b": 3}
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"
    order.clear()
    monkeypatch.setattr(timing, "LONG", 0.0)
    assert {name: len(times) for name, times in timing.alternate(calls, CPU, repeats=2).items()} == {"a": 2, "b": 2}
    assert "".join(order) == "ab" + "ba"


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that is three times as slow in the second round changes nothing."""
    ours, theirs = [1.0, 3.0, 1.0], [2.0, 6.0, 2.0]
    assert timing.times_as_fast(ours, theirs) == 2.0
    assert timing.summary(theirs) == {"median_s": statistics.median(theirs), "best_s": 2.0, "num": 3}


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        ("aten::addmm", "matrix products"),
        ("aten::mkldnn_convolution", "matrix products"),
        ("aten::convolution_backward", "matrix products"),
        ("aten::bmm", "attention"),
        ("aten::_softmax", "attention"),
        ("aten::_softmax_backward_data", "attention"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"),
        ("aten::native_layer_norm_backward", "normalisation"),
        ("aten::linalg_vector_norm", "optimiser"),
        ("aten::_fused_adamw_", "optimiser"),
        ("aten::_foreach_lerp_", "optimiser"),
        ("aten::gelu_backward", "elementwise"),
        ("aten::mul_", "elementwise"),
        ("aten::copy_", "copies and casts"),
        ("aten::_to_copy", "copies and casts"),
        ("aten::slice_backward", "copies and casts"),
        ("autograd::engine::evaluate_function: AddmmBackward0", "other"),
    ],
)
def test_operators_are_grouped_by_what_they_do(operator: str, kind: str) -> None:
    assert kind_of(operator) == kind and kind in KINDS


def test_a_profile_finds_the_products_of_a_training_step() -> None:
    work = debug()
    found = profile(TrainingStep(work), CPU)
    assert set(found.kinds) == set(KINDS)
    for kind in KINDS[:6]:
        assert found.kinds[kind] > 0, kind
    assert sum(found.kinds.values()) <= 1.01 * found.wall
    assert found.to_dict()["kinds"]["matrix products"]["share"] > 0


def test_a_step_is_charged_its_share_of_the_averaging() -> None:
    step = TrainingStep(debug(EMA_EVERY=10))
    before = [parameter.detach().clone() for parameter in step.parameters]
    seconds = step()
    assert list(seconds) == ["forward", "backward", "clip", "AdamW", "average"]
    assert any(not torch.equal(old, new) for old, new in zip(before, step.parameters, strict=True))
    parts = {"forward": 1.0, "backward": 2.0, "clip": 0.5, "AdamW": 0.25, "average": 1.0}
    assert step.total(parts) == pytest.approx(3.75 + 1.0 / 10)


def test_the_ceiling_is_the_best_product_of_any_round() -> None:
    limits = Limits(CPU, [Product(8, 16, 32)], (torch.float32,))
    limits.rounds = [{"float32": {"a": 1e12, "b": 3e12}}, {"float32": {"a": 4e12, "b": 2e12}}]
    limits.copies = [1e9, 2e9]
    assert limits.best(torch.float32) == 4e12
    found = limits.to_dict()
    assert found["tflops_of_rounds"] == {"float32": [3.0, 4.0]}
    assert found["tflops_of_products"] == {"float32": {"a": 4.0, "b": 3.0}}
    assert found["copy_gb_per_s"] == 2.0


def test_short_calls_are_repeated_until_they_have_taken_a_while() -> None:
    assert timing.num_rounds(10.0, 3) == 3
    assert timing.num_rounds(timing.BRIEF / 20, 3) == 20
    assert timing.num_rounds(0.0, 3) == 3 * timing.MOST
