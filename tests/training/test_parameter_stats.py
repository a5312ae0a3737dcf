"""methods/training/parameter_stats.py: groups of names, and numbers against torch and numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from methods.training.parameter_stats import (
    NUM_BINS,
    block_groups,
    histograms,
    norms,
    parameter_table,
)


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 3))


# ---- Groups ---------------------------------------------------------------------------------------------------------


def test_blocks_are_told_in_ranges_and_the_rest_by_module() -> None:
    blocks = [f"backbone.dit.blocks.{i}.attn.qkv.weight" for i in range(14)]
    groups = block_groups([
        *blocks, "backbone.dit.x_embedder.proj.weight", "backbone.dit.t_embedder.mlp.0.weight",
        "backbone.text.pooled.1.weight", "backbone.text.norm.weight", "backbone.adapters.0.text.q.weight",
        "backbone.gate",
    ])  # fmt: skip
    assert [groups[blocks[i]] for i in (0, 3, 4, 11, 12, 13)] == [
        "dit.blocks.00-03", "dit.blocks.00-03", "dit.blocks.04-07", "dit.blocks.08-11", "dit.blocks.12-13",
        "dit.blocks.12-13",
    ]  # fmt: skip
    assert list(groups.values())[14:] == ["dit.x_embedder", "dit.t_embedder", "text", "text", "adapters.0", "gate"]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["down.0.0.conv.weight", "down.1.0.conv.weight", "mid.conv.weight"], ["down.0", "down.1", "mid"]),
        (["a.weight", "a.bias"], ["a", "a"]),
        (["weight"], ["weight"]),
        (["0.weight", "2.weight"], ["0", "2"]),
    ],
)
def test_any_backbones_names_fall_into_groups(names: list[str], wanted: list[str]) -> None:
    groups = block_groups(names)
    assert [groups[name] for name in names] == wanted


# ---- Numbers --------------------------------------------------------------------------------------------------------


def test_the_norm_of_a_group_is_that_of_its_values_in_one_vector() -> None:
    tensors = {name: p.detach() for name, p in model().named_parameters()}
    found = norms(tensors, {"0.weight": "a", "0.bias": "a", "2.weight": "b", "2.bias": "a"})
    together = torch.cat([tensors[name].flatten() for name in ("0.weight", "0.bias", "2.bias")])
    assert found == {"a": pytest.approx(float(together.norm())), "b": pytest.approx(float(tensors["2.weight"].norm()))}
    assert norms({}, {}) == {}


def test_a_histogram_is_numpys() -> None:
    parts = {"a": torch.randn(1000, generator=torch.Generator().manual_seed(1)), "b": torch.linspace(-2, 3, 500)}
    found = histograms(parts, {"a": "both", "b": "both"})["both"]
    values = torch.cat(list(parts.values())).double().numpy()
    counts, edges = np.histogram(values, bins=NUM_BINS)
    assert np.abs(np.array(found.counts) - counts).sum() <= 2 and sum(found.counts) == 1500  # rounding at an edge
    np.testing.assert_allclose(found.limits, edges[1:], rtol=1e-5, atol=1e-5)
    assert (found.low, found.high) == (pytest.approx(values.min()), pytest.approx(values.max()))
    assert (found.total, found.squares) == (pytest.approx(values.sum(), rel=1e-4), pytest.approx((values**2).sum()))


def test_no_statistic_needs_float64_which_mps_has_not() -> None:
    class Mps(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: object, types: object, args: tuple = (), kwargs: dict | None = None
        ) -> object:
            out = func(*args, **(kwargs or {}))
            if any(isinstance(leaf, torch.Tensor) and leaf.dtype == torch.float64 for leaf in tree_leaves(out)):
                raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
            return out

    net = model()
    groups = block_groups([name for name, _ in net.named_parameters()])
    weights = {name: p.detach() for name, p in net.named_parameters()}
    with Mps():
        assert norms(weights, groups) and histograms(weights, groups)


def test_equal_values_have_a_histogram_and_broken_ones_none() -> None:
    found = histograms({"flat": torch.ones(10), "broken": torch.tensor([1.0, math.nan])}, {"flat": "f", "broken": "b"})
    assert found.keys() == {"f"} and sum(found["f"].counts) == found["f"].counts[0] == 10


def test_the_table_counts_every_parameter_once() -> None:
    net = model()
    net[0].requires_grad_(False)
    assert parameter_table(net, block_groups([name for name, _ in net.named_parameters()])) == [
        ["0", "2", "42", "0", "63.6%"],
        ["2", "2", "24", "24", "36.4%"],
        ["all", "4", "66", "24", "100.0%"],
    ]
