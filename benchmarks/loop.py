"""How much of a sampling loop is not the backbone: clipping, guidance, the step itself, noise, Python."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass
class LoopCost:
    """Seconds of a whole loop and of the backbone's forwards in it; ``num_clips``: every clip of every forward."""

    total: float = 0.0
    forwards: float = 0.0
    num_forwards: int = 0
    num_clips: int = 0

    @property
    def beyond(self) -> float:
        """Share of the loop's time that is spent outside the backbone."""
        return 1 - self.forwards / self.total


def loop_cost(
    loop: Callable[[], object],
    backbone: nn.Module,
    *,
    wait: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> LoopCost:
    """Run ``loop`` once and tell its time apart from that of ``backbone``, whose first argument is a batch of clips.

    ``wait`` returns when the device is idle. It is called around every forward, so nothing that the loop does hides
    behind one: on a GPU the share is an upper bound.
    """
    cost = LoopCost()
    started = 0.0

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal started
        wait()
        started = clock()

    def after(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        wait()
        cost.forwards += clock() - started
        cost.num_forwards += 1
        cost.num_clips += len(inputs[0])

    hooks = [backbone.register_forward_pre_hook(before), backbone.register_forward_hook(after)]
    try:
        wait()
        start = clock()
        loop()
        wait()
        cost.total = clock() - start
    finally:
        for hook in hooks:
            hook.remove()
    return cost
