"""Norms and values of parameters, in groups that any backbone's names fall into by themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from methods.training.distributed import is_sharded, own_part, whole
from utils.process_group import add

MAX_VALUES = 2**20  # of a group: as many show the same histogram as all


def group_of(name: str) -> str:
    """A parameter's block, or else the module that its first two parts name; ``backbone.`` is left out.

    ``dit.blocks.3.attn.qkv.weight`` -> ``dit.blocks.3``: a number is a block's if at least two parts follow it.
    ``dit.t_embedder.mlp.0.weight`` -> ``dit.t_embedder``.
    """
    *parts, _ = name.removeprefix("backbone.").split(".")
    length = next((i for i, part in enumerate(parts[1:-1], start=2) if part.isdigit()), 2)
    return ".".join(parts[:length]) or "backbone"


def norms(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """Group -> L2 norm of its tensors, in float32; one transfer from the device, of parts one sum over all."""
    members: dict[str, list[int]] = {}
    for i, name in enumerate(tensors):
        members.setdefault(group_of(name), []).append(i)
    if not members:
        return {}
    parts = [own_part(tensor) for tensor in tensors.values()]
    each = torch.stack([norm.float() for norm in torch._foreach_norm(parts)]).square()
    together = torch.stack([each[rows].sum() for rows in members.values()])
    if any(is_sharded(tensor) for tensor in tensors.values()):
        add(together)
    together.sqrt_()
    return dict(zip(members, together.tolist(), strict=True))


@torch.no_grad()
def samples(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Group -> about MAX_VALUES of its values at most, evenly spaced: what a histogram is drawn of. (K,) float32, host.

    Groups whose values are not all numbers are left out.
    """
    members: dict[str, list[Tensor]] = {}
    for name, tensor in tensors.items():
        members.setdefault(group_of(name), []).append(tensor)
    found = {}
    for group, parts in members.items():
        every = math.ceil(sum(part.numel() for part in parts) / MAX_VALUES)
        values = torch.cat([whole(part.detach()).flatten()[::every] for part in parts]).float().cpu()
        if values.isfinite().all():
            found[group] = values
    return found


def parameter_table(model: nn.Module) -> list[list[str]]:
    """Rows (group, tensors, parameters, of which trained, share), the last one for all together."""
    rows: dict[str, list[int]] = {}
    for name, p in model.named_parameters():
        row = rows.setdefault(group_of(name), [0, 0, 0])
        row[0], row[1], row[2] = row[0] + 1, row[1] + p.numel(), row[2] + p.numel() * p.requires_grad
    rows["all"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    whole = rows["all"][1]
    return [
        [group, f"{tensors:,}", f"{parameters:,}", f"{trained:,}", f"{parameters / whole:.1%}"]
        for group, (tensors, parameters, trained) in rows.items()
    ]
