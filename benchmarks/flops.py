"""Floating point operations, 2 for a multiply-add, counted on copies without memory; no elementwise work."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.limits import Product
from benchmarks.workload import Workload
from diffusion.text2sign import Text2Sign
from models.text_features import TextFeatures

MATTERS = 0.05  # share of the operations of all linear layers from which a shape is measured for itself


class Operations(NamedTuple):
    """Of one clip."""

    forward: float
    training: float  # forward and backward
    executed: float  # with what GRADIENT_CHECKPOINTING computes a second time


def count(call: Callable[[], Tensor], *, backward: bool = False) -> int:
    """Of one call, and of the backward pass of the sum of what it returns; give it tensors on ``meta``."""
    with FlopCounterMode(display=False) as counter:
        result = call()
        if backward:
            result.sum().backward()
    return counter.get_total_flops()


def training_flops(model: Text2Sign, *, num_clips: int, num_tokens: int) -> float:
    """Floating point operations of forward and backward for one clip, 2 for a multiply-add, as they are executed.

    So what GRADIENT_CHECKPOINTING recomputes is counted again and frozen parameters cost no weight gradient. Counted
    on a copy without memory (device ``meta``): nothing is computed, no gradient touched.
    """
    backbone = meta_copy(model.backbone)
    x_t = torch.empty(num_clips, *model.clip_shape, device="meta")
    t = torch.empty(num_clips, dtype=torch.int64, device="meta")
    text = TextFeatures.blank(num_clips, num_tokens, model.text.width, device="meta")
    with FlopCounterMode(display=False) as counter:
        prediction = backbone(x_t, t, text)
        if prediction.requires_grad:
            prediction.sum().backward()
    return counter.get_total_flops() / num_clips


def meta_copy(module: nn.Module) -> nn.Module:
    """The module with its parameters and buffers replaced by shapes without memory."""
    known: dict[int, Tensor] = {}
    for p in module.parameters():
        known[id(p)] = nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
    for buffer in module.buffers():
        known[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(module, known)


def operations(work: Workload) -> Operations:
    """Of the backbone; loss, optimiser and averages are elementwise."""
    backbone, checkpointing = work.model.backbone, work.model.backbone.gradient_checkpointing
    sizes = {"num_clips": len(work.video), "num_tokens": work.text.mask.shape[1]}
    with torch.no_grad():
        forward = training_flops(work.model, **sizes)
    executed = training_flops(work.model, **sizes)
    try:
        backbone.gradient_checkpointing = False
        training = training_flops(work.model, **sizes)
    finally:
        backbone.gradient_checkpointing = checkpointing
    return Operations(forward, training, executed)


def own_products(work: Workload) -> list[Product]:
    """The shapes of the linear layers that most operations of a forward are in, and the widest over all tokens."""
    spent: dict[Product, int] = {}

    def note(layer: nn.Linear, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        product = Product(inputs[0].shape[:-1].numel(), layer.in_features, layer.out_features)
        spent[product] = spent.get(product, 0) + product.flops

    layers = [layer for layer in work.model.backbone.modules() if isinstance(layer, nn.Linear)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        with torch.no_grad():
            training_flops(work.model, num_clips=len(work.video), num_tokens=work.text.mask.shape[1])
    finally:
        for hook in hooks:
            hook.remove()
    own = [product for product, flops in spent.items() if flops >= MATTERS * sum(spent.values())]
    widest = max(own, key=lambda product: product.inputs * product.outputs)
    return [*own, widest._replace(rows=max(product.rows for product in spent))]
