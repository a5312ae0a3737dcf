"""Many processes as one run: the group that torchrun's processes meet in, and what they agree on.

    with joined(device):
        data = in_turn(load)              # one process a machine, then the others
        total = add(tensor)               # over all processes
        on_first(write)                   # one writer; its error is everybody's

Alone, without torchrun, each of these is the plain call. What weights and gradients exchange is PyTorch's own business
(``methods/training/distributed.py``); here are the few numbers beside them, which stay on the host.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from config import ConfigError, UserError
from utils.processes import world

TIMEOUT = timedelta(minutes=30)
"""How long a process waits for the others: longer than any of them reads clips, validates or saves. It ends a run whose
machine has vanished; where a process dies, torchrun ends the rest within seconds."""

T = TypeVar("T")


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """The processes of this run, met for as long as the context lasts: gloo on the host, nccl between GPUs.

    ``device`` is the one of this process (``runtime.own_device``).

    Raises:
        ConfigError: the others cannot be met.
    """
    if world().size == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    except (ValueError, dist.DistError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"the {world().size} processes of this run cannot meet ({reason}). "
            "Start them with: torchrun --nproc_per_node N main.py train"
        ) from error
    try:
        yield
    except UserError:  # raised by all, see ``_agree``; after any other error this process just ends
        dist.destroy_process_group()
        raise
    dist.destroy_process_group()


@contextlib.contextmanager
def only_first_speaks() -> Iterator[None]:
    """What the other processes would print is the same again, so it goes nowhere; a traceback is still heard."""
    if world().is_first:
        yield
        return
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


# ---- Agreeing -------------------------------------------------------------------------------------------------------


def together(action: Callable[[], T]) -> T:
    """``action()`` on every process, which must not wait for another in it.

    Raises:
        UserError: that of the first process that has one, by all of them, so that none waits for one that has ended.
    """
    result = failure = None
    try:
        result = action()
    except UserError as error:
        failure = error
    _agree(failure)
    return result


def in_turn(action: Callable[[], T]) -> T:
    """As ``together``, but the first process of each machine does it before the others: what it leaves, they find."""
    is_first = world().local_rank == 0
    if not is_first:
        _agree(None)
    result = together(action)
    if is_first:
        _agree(None)
    return result


def on_first(action: Callable[[], object]) -> None:
    """``action()`` on the first process alone; the others wait.

    Raises:
        UserError: as ``together``.
    """
    together(action if world().is_first else lambda: None)


def first_says(answer: bool) -> bool:
    """The first process's answer, for all."""
    return bool(add(torch.tensor([answer and world().is_first], dtype=torch.float32)))


def add(tensor: Tensor) -> Tensor:
    """The sum of the tensor over all processes, in its place; every one must call it with the same shape."""
    if world().size > 1:
        dist.all_reduce(tensor)
    return tensor


def _agree(error: UserError | None) -> None:
    """Every process raises the error of the first one that has any; none has, none raises."""
    found: list[UserError | None] = [error]
    if world().size > 1:
        found = [None] * world().size
        dist.all_gather_object(found, error)
    for one in found:
        if one is not None:
            raise one
