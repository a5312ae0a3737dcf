"""One optimiser step on many processes: whose clips are whose, and what carries the gradients between them.

A step has BATCH_SIZE * GRADIENT_ACCUMULATION_STEPS clips of each process. Its clips and all their noise are a function
of (SEED, step), so every process knows the whole step and takes its share: two processes with BATCH_SIZE=2 take the
step that one takes with BATCH_SIZE=4.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from config import Config
from diffusion.text2sign import Text2Sign
from methods.training.sharding import shard
from utils.process_group import add
from utils.processes import World, world


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


def gather(parts: list[Share], losses: list[Tensor], *, out: Tensor) -> Tensor:
    """``out`` (at least as long as the step has clips, zeros there) with the loss of every clip of the step.

    ``losses`` are those of this process's ``parts``, (share,) each. What else stands in ``out`` is added up as well.
    """
    for share, found in zip(parts, losses, strict=True):
        if share.weight:
            out[share.rows] = found
    return add(out)  # a sum with zeros: exact, and NaN stays NaN


def distribute(model: Text2Sign, config: Config, device: torch.device) -> nn.Module:
    """What a training step calls: the model, which FSDP changes in place, or DistributedDataParallel around it.

    Both average gradients over the processes. DDP's live in the buffers that it exchanges, so they take no memory
    twice; the model's own buffers are constants, equal everywhere.
    """
    if world().size == 1:
        return model
    if config.DISTRIBUTED == "fsdp":
        shard(model.backbone, device)
        return model
    return DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)


def exchanging(forward: nn.Module, *, now: bool) -> contextlib.AbstractContextManager:
    """Around a forward and backward pass; only ``now`` does DDP exchange gradients, before that they add up at home.

    FSDP exchanges them every time: adding up at home needs the memory of a whole gradient, which it is there to spare.
    """
    if isinstance(forward, DistributedDataParallel) and not now:
        return forward.no_sync()
    return contextlib.nullcontext()
