"""methods/training/parameter_stats.py: groups of names, and numbers against torch and numpy."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from methods.training.parameter_stats import (
    MAX_VALUES,
    group_of,
    norms,
    parameter_table,
    samples,
)


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 3))


# ---- Groups ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("backbone.dit.blocks.13.attn.qkv.weight", "dit.blocks.13"),
        ("backbone.dit.blocks.0.adaLN_modulation.1.bias", "dit.blocks.0"),
        ("backbone.dit.t_embedder.mlp.0.weight", "dit.t_embedder"),
        ("backbone.dit.x_embedder.proj.weight", "dit.x_embedder"),
        ("backbone.text.pooled.1.weight", "text.pooled"),
        ("backbone.adapters.0.text.q.weight", "adapters.0"),
        ("backbone.down.1.0.residual.film.weight", "down.1"),
        ("backbone.stem.weight", "stem"),
        ("backbone.gate", "backbone"),
    ],
)
def test_a_parameter_belongs_to_its_block_or_to_its_module(name: str, wanted: str) -> None:
    assert group_of(name) == wanted


# ---- Numbers --------------------------------------------------------------------------------------------------------


def test_the_norm_of_a_group_is_that_of_its_values_in_one_vector() -> None:
    tensors = {name: p.detach() for name, p in model().named_parameters()}
    together = {number: torch.cat([p.flatten() for p in model()[number].parameters()]) for number in (0, 2)}
    assert norms(tensors) == {str(number): pytest.approx(float(p.detach().norm())) for number, p in together.items()}
    assert norms({}) == {}


def test_few_values_are_kept_as_they_are_and_many_thinned_evenly() -> None:
    few, many = torch.randn(7, generator=torch.Generator().manual_seed(1)), torch.arange(3.0 * MAX_VALUES)
    found = samples({"a.weight": few, "a.bias": few, "b.weight": many.view(3, -1)})
    assert torch.equal(found["a"], torch.cat([few, few])) and torch.equal(found["b"], many[::3])


def test_a_group_with_a_value_that_is_no_number_has_no_histogram() -> None:
    assert samples({"f.weight": torch.ones(10), "b.weight": torch.tensor([1.0, math.nan])}).keys() == {"f"}


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
    weights = {name: p.detach() for name, p in net.named_parameters()}
    with Mps():
        assert norms(weights) and samples(weights)


def test_the_table_counts_every_parameter_once() -> None:
    net = model()
    net[0].requires_grad_(False)
    assert parameter_table(net) == [
        ["0", "2", "42", "0", "63.6%"],
        ["2", "2", "24", "24", "36.4%"],
        ["all", "4", "66", "24", "100.0%"],
    ]
