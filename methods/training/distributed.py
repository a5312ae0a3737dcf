"""One run on many processes: whose clips are whose, what carries the gradients between them, and FSDP's parts.

A step has BATCH_SIZE * GRADIENT_ACCUMULATION_STEPS clips of each process. Its clips and all their noise are a function
of (SEED, step), so every process knows the whole step and takes its share: two processes with BATCH_SIZE=2 take the
step that one takes with BATCH_SIZE=4.

With FSDP2 (Zhao et al. 2023; ``fully_shard``) every process holds a part of each weight, gradient, moment and average:
a range of rows. PyTorch gathers the weights of a unit of the backbone before it computes, drops them afterwards, and
leaves each process the sum of its own part of the gradient. A checkpoint knows no parts: ``gathered`` makes whole
tensors, ``like`` takes the own part of one. (torch.distributed.checkpoint.state_dict would do so too, but it invents
moments for parameters that have none yet, in the running optimiser as well.)
"""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map_only

from config import Config
from diffusion.text2sign import ARCHITECTURES, Text2Sign
from models.layers.modulation import Modulated
from utils.processes import World, world

# ---- The clips of a step ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Share:
    """One process's part of a forward pass: ``rows`` of the step's clips, one at least.

    ``weight`` is 0 where there are fewer clips than processes and this one only repeats another's, since all of them
    must take part in every exchange.
    """

    rows: slice
    weight: int = 1


def shares(num_clips: int, *, batch_size: int, world: World) -> list[Share]:
    """This process's share of each forward pass of a step, as many on every process; dealt in turn, so even."""
    found = []
    for start in range(0, num_clips, batch_size * world.size):
        stop = min(start + batch_size * world.size, num_clips)
        own = slice(start + world.rank, stop, world.size)
        found.append(Share(own) if own.start < stop else Share(slice(start, start + 1), weight=0))
    return found


# ---- Gradients between processes -------------------------------------------------------------------------------------


def distribute(model: Text2Sign, config: Config, device: torch.device) -> nn.Module:
    """What a training step calls: the model, which FSDP changes in place, or DistributedDataParallel around it.

    Both average gradients over the processes. DDP's live in the buffers that it exchanges, so they take no memory
    twice; the model's own buffers are constants, equal everywhere.
    """
    if world().size == 1:
        return model
    if config.DISTRIBUTED == "fsdp":
        units = ARCHITECTURES[config.MODEL_ARCHITECTURE].units(model.backbone)
        shard(model.backbone, device, units=units)
        return model
    return DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)


def exchanging(forward: nn.Module, *, now: bool) -> contextlib.AbstractContextManager:
    """Around a forward and backward pass; only ``now`` does DDP exchange gradients, before that they add up at home.

    FSDP exchanges them every time: adding up at home needs the memory of a whole gradient, which it is there to spare.
    """
    if isinstance(forward, DistributedDataParallel) and not now:
        return forward.no_sync()
    return contextlib.nullcontext()


def shard(backbone: nn.Module, device: torch.device, *, units: list[list[nn.Module]]) -> None:
    """Leave this process its part of every parameter, in place; ``forward`` then works on all processes together.

    The weights of each of the ``units``, groups of modules that run one after the other, are gathered together.
    The whole backbone is the last unit, for what lies around its blocks: every use of it begins with its ``forward``.
    It gives its weights back after ``forward`` like the others, so that nobody finds outdated ones gathered.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    mesh = init_device_mesh(device.type, (world().size,))
    for unit in units:
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
    """``full``, which every process has, sharded as ``model`` is; itself where that is not, or has another shape."""
    if not is_sharded(model) or full.shape != model.shape:
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


def gathered(state: dict[str, Any], *, keep: bool) -> dict[str, Any]:
    """``state`` with every sharded tensor in its dictionaries and lists whole, on the host.

    All processes take part, tensor by tensor; one that does not ``keep`` them is left with empty ones.
    """

    def full(tensor: Tensor) -> Tensor:
        if not is_sharded(tensor):
            return tensor
        found = whole(tensor)
        return found.cpu() if keep else torch.empty(0)

    return tree_map_only(Tensor, full, state)


def load_moments(optimizer: torch.optim.Optimizer, stored: dict[str, Any]) -> None:
    """A checkpoint's moments, each sharded as the parameter that it belongs to; the rates and decays stay the
    optimiser's own, which a resumed run may have changed.

    None stays in the mapped file: its room on disk would not be free before the run ends, and Windows would not let it
    be replaced. A GPU's are copied there anyway, all but the counts of steps.
    """

    def own(value: Tensor, parameter: nn.Parameter) -> Tensor:
        part = like(value, parameter)
        return part.clone() if parameter.device.type == "cpu" or part.dim() == 0 else part

    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        number: {name: own(value, parameters[number]) for name, value in state.items()}
        for number, state in stored["state"].items()
    }
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})


def gradient_norm(parameters: list[nn.Parameter]) -> Tensor:
    """The L2 norm of the whole gradient."""
    return whole(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
