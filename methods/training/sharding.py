"""FSDP2: every process holds a part of each weight, gradient, moment and average (Zhao et al. 2023; ``fully_shard``).

A part is a range of rows of the tensor. PyTorch gathers the weights of a unit of the backbone before it computes, drops
them afterwards, and leaves each process the sum of its own part of the gradient. Between two steps nothing but the
parts exists. A checkpoint knows no parts: ``gathered`` makes whole tensors, ``like`` takes the own part of one.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from models.architectures.tinyfusion import TinyFusionVideo
from models.layers.modulation import Modulated
from utils.processes import world

# ---- Sharding a backbone --------------------------------------------------------------------------------------------


def shard(backbone: nn.Module, device: torch.device) -> None:
    """Leave this process its part of every parameter, in place; ``forward`` then works on all processes together.

    The whole backbone is the last unit, for what lies around its blocks: every use of it begins with its ``forward``.
    It gives its weights back after ``forward`` like the others, so that nobody finds outdated ones gathered.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    mesh = init_device_mesh(device.type, (world().size,))
    for unit in units(backbone):
        for module in unit:
            if isinstance(module, Modulated):  # used before the block, for all of its calls
                fully_shard(module.adaLN_modulation, mesh=mesh)
        fully_shard(unit if len(unit) > 1 else unit[0], mesh=mesh)
    fully_shard(backbone, mesh=mesh, reshard_after_forward=True)
    for module in backbone.modules():
        if isinstance(module, FSDPModule):  # gloo adds up and knows no averages; FSDP then divides itself
            module.set_force_sum_reduction_for_comms(device.type == "cpu")
    # Of the output, a view of the last layer's: harmless where, as here, nothing changes it in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")


def units(backbone: nn.Module) -> list[list[nn.Module]]:
    """Modules whose weights are gathered together, in groups that run one after the other.

    These are the blocks, members of the backbone's lists. TinyFusion calls a block once for each chunk of frames and
    its adapter once after them: as a group they are gathered once, and not once for each chunk.
    """
    if isinstance(backbone, TinyFusionVideo):
        return [list(pair) for pair in zip(backbone.dit.blocks, backbone.adapters, strict=True)]
    return [[block] for block in _blocks(backbone)]


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Members of the outermost lists in ``module``, lists in lists opened, without those that have no weights."""
    for child in module.children():
        if isinstance(module, nn.ModuleList) and not isinstance(child, nn.ModuleList):
            if any(True for _ in child.parameters()):
                yield child
        else:
            yield from _blocks(child)


# ---- Parts and wholes -----------------------------------------------------------------------------------------------


def is_sharded(tensor: Tensor) -> bool:
    """Whether it is a ``DTensor``, told by what only that class has: importing it takes a second of a start."""
    return hasattr(tensor, "placements")


@torch.no_grad()
def own_part(tensor: Tensor) -> Tensor:
    """What this process holds of a sharded tensor, sharing its memory; any other tensor as it is. No gradient."""
    return tensor.to_local() if is_sharded(tensor) else tensor.detach()


@torch.no_grad()
def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor put together, on all processes by all of them; any other tensor as it is. No gradient."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor.detach()


def like(full: Tensor, model: Tensor) -> Tensor:
    """``full``, which every process has, sharded as ``model`` is; itself where that is not sharded."""
    if not is_sharded(model):
        return full
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(full, model.device_mesh, model.placements, src_data_rank=None)


def from_parts(part: Tensor, model: Tensor) -> Tensor:
    """The inverse of ``own_part``: the tensor, sharded as ``model`` is, of which each process has its ``part``."""
    if not is_sharded(model):
        return part
    from torch.distributed.tensor import DTensor

    place = {"shape": model.shape, "stride": model.stride(), "run_check": False}
    return DTensor.from_local(part.to(model.device), model.device_mesh, model.placements, **place)


def gathered(value: Any, *, keep: bool) -> Any:
    """``value`` with every sharded tensor in its dictionaries and lists whole, on the host.

    All processes take part, tensor by tensor; one that does not ``keep`` them is left with empty ones.
    """
    if isinstance(value, Tensor) and is_sharded(value):
        full = whole(value)
        return full.cpu() if keep else torch.empty(0)
    if isinstance(value, dict):
        return type(value)((key, gathered(part, keep=keep)) for key, part in value.items())
    if isinstance(value, list):
        return [gathered(part, keep=keep) for part in value]
    return value


def own_moments(stored: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """A checkpoint's moments for ``optimizer``, each sharded as the parameter that it belongs to; the rates and decays
    are the optimiser's own, which a resumed run may have changed."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        number: {
            name: like(value, parameters[number]) if value.shape == parameters[number].shape else value
            for name, value in state.items()
        }
        for number, state in stored["state"].items()
    }
    return {"state": moments, "param_groups": optimizer.state_dict()["param_groups"]}


# ---- Norms ----------------------------------------------------------------------------------------------------------


def gradient_norm(parameters: list[nn.Parameter]) -> Tensor:
    """The L2 norm of the whole gradient, of sharded parameters too."""
    return whole(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
