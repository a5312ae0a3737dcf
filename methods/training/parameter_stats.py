"""Norms and histograms of parameters, in groups that any backbone's names fall into by themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from methods.training.distributed import is_sharded, own_part, whole
from utils.process_group import add
from utils.train_logger import Histogram

MAX_RANGES = 4  # a list of blocks is told in at most so many groups
NUM_BINS = 64  # of a histogram


def block_groups(names: Sequence[str]) -> dict[str, str]:
    """Parameter name -> group: a range of blocks, or the module's first name.

    The first part that all names share is left out. A number is a block's if at least two parts follow it, as in
    ``dit.blocks.3.attn.qkv.weight``; blocks of one list are told in at most MAX_RANGES ranges (``dit.blocks.00-03``).
    Where a first part holds blocks, what else it holds goes by its second part, too (``dit.x_embedder``).
    """
    parts = {name: name.split(".") for name in names}
    lengths = [len(found) for found in parts.values()]
    shared = len({found[0] for found in parts.values()}) == 1 and min(lengths) > 1 and max(lengths) > 2
    parts = {name: found[shared:] for name, found in parts.items()}
    places = {name: _block_place(found) for name, found in parts.items()}
    lists: dict[tuple[str, ...], set[int]] = {}
    for name, at in places.items():
        if at is not None:
            lists.setdefault(tuple(parts[name][:at]), set()).add(int(parts[name][at]))
    holders = {prefix[0] for prefix in lists if len(prefix) > 1}
    groups = {}
    for name, at in places.items():
        found = parts[name]
        if at is not None:
            groups[name] = ".".join([*found[:at], _range(int(found[at]), sorted(lists[tuple(found[:at])]))])
        else:
            groups[name] = ".".join(found[: 2 if found[0] in holders and len(found) > 2 else 1])
    return groups


def _block_place(parts: list[str]) -> int | None:
    """Where the number of a block stands, if there is one."""
    return next((i for i, part in enumerate(parts[:-2]) if part.isdigit() and i > 0), None)


def _range(index: int, indices: list[int]) -> str:
    size = math.ceil(len(indices) / MAX_RANGES)
    start = indices.index(index) // size * size
    first, last = indices[start], indices[min(start + size, len(indices)) - 1]
    digits = len(str(indices[-1]))
    return f"{first:0{digits}d}" if first == last else f"{first:0{digits}d}-{last:0{digits}d}"


def norms(tensors: Mapping[str, Tensor], groups: Mapping[str, str]) -> dict[str, float]:
    """L2 norm of the tensors of each group, in float32; one transfer from the device, of parts one sum over all."""
    members: dict[str, list[int]] = {}
    for i, name in enumerate(tensors):
        members.setdefault(groups[name], []).append(i)
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
def histograms(tensors: Mapping[str, Tensor], groups: Mapping[str, str]) -> dict[str, Histogram]:
    """Histogram of each group's values over NUM_BINS equal bins between its extremes; groups with NaN are left out."""
    members: dict[str, list[Tensor]] = {}
    for name, tensor in tensors.items():
        members.setdefault(groups[name], []).append(tensor.detach())
    found = {group: _histogram([whole(part) for part in parts]) for group, parts in members.items()}
    return {group: histogram for group, histogram in found.items() if histogram is not None}


def _histogram(tensors: list[Tensor]) -> Histogram | None:
    extremes = [part for tensor in tensors for part in tensor.aminmax()]
    low, high = float(torch.stack(extremes[::2]).min()), float(torch.stack(extremes[1::2]).max())
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    width = (high - low) / NUM_BINS or 1.0
    counts = sum(
        torch.bincount(((tensor.flatten().float() - low) / width).long().clamp_(0, NUM_BINS - 1), minlength=NUM_BINS)
        for tensor in tensors
    )
    sums = torch.stack([torch.stack([part.sum(), part.square().sum()]) for part in (t.float() for t in tensors)])
    total, squares = map(math.fsum, zip(*sums.tolist(), strict=True))  # MPS knows no float64
    limits = [low + width * (i + 1) for i in range(NUM_BINS)]
    return Histogram(low, high, counts.tolist(), limits, total, squares)


def parameter_table(model: nn.Module, groups: Mapping[str, str]) -> list[list[str]]:
    """Rows (group, tensors, parameters, of which trained, share), the last one for all together."""
    rows: dict[str, list[int]] = {}
    for name, p in model.named_parameters():
        row = rows.setdefault(groups[name], [0, 0, 0])
        row[0], row[1], row[2] = row[0] + 1, row[1] + p.numel(), row[2] + p.numel() * p.requires_grad
    rows["all"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    whole = rows["all"][1]
    return [
        [group, f"{tensors:,}", f"{parameters:,}", f"{trained:,}", f"{parameters / whole:.1%}"]
        for group, (tensors, parameters, trained) in rows.items()
    ]
