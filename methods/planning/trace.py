"""Memory over time of whatever runs inside: every storage from its birth to its death, and what is reckoned meanwhile.

Under torch's FakeTensorMode, where tensors have shapes and no memory, this finds the peak of a training that would not
fit. What an operator allocates and frees within itself (a library's workspace) is not seen.
"""

from __future__ import annotations

import math
import weakref
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from methods.training.step import BACKWARD, FORWARD

WEIGHTS = "weights"
COPIES = "weights in autocast's precision"
KEPT = "activations kept for the backward pass"
RECOMPUTED = "activations recomputed (checkpointing)"
WORKING = "intermediate results"

_FUSED = torch.ops.aten._scaled_dot_product_flash_attention
_FUSED_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_backward
FORMULAS = {  # of operations; torch knows the fused attention of GPUs, and not the CPU's, which has its arguments
    **flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[_FUSED],
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: flop_registry[_FUSED_BACKWARD],
}


@dataclass(slots=True)
class Block:
    """The memory behind one storage. ``born`` and ``died`` count births and deaths since the trace began."""

    num_bytes: int
    phase: str  # of its birth
    records_gradients: bool  # at its birth
    stretch: int  # of the step, at its birth
    born: int
    died: float = math.inf
    died_in: float = math.inf  # the stretch
    label: str | None = None

    @property
    def kind(self) -> str:
        """Its label; else what its life tells. What outlives the stretch it was born in was kept for gradients."""
        if self.label:
            return self.label
        if self.records_gradients and self.stretch < self.died_in < math.inf:
            return {FORWARD: KEPT, BACKWARD: RECOMPUTED}.get(self.phase, WORKING)
        return WORKING


@dataclass(frozen=True)
class Peak:
    """The most that lives at once: bytes, the phase in which it does, and the bytes of each kind, the largest first."""

    num_bytes: int
    phase: str
    parts: dict[str, int]


class MemoryTrace(TorchDispatchMode):
    """Follows the tensors of one type of device that operators return while it is entered.

    Enter it inside FakeTensorMode. ``phase`` is set by whoever runs the step. A stretch is a run of operators in the
    same phase, with or without gradients recorded: so each recomputation by checkpointing is one.
    """

    def __init__(self, device_type: str) -> None:
        super().__init__()
        self.device_type = device_type
        self.phase = FORWARD
        self._blocks: list[Block] = []
        self._alive: dict[int, tuple[Block, weakref.ref]] = {}  # by the storage's identity
        self._stretch, self._now = 0, (self.phase, True)
        self._clock = self._num_bytes = 0
        self.restart()

    def restart(self) -> None:
        """Forget the peak and the operations so far; what lives, lives on."""
        self._peak_bytes, self._peak_clock, self._peak_phase = self._num_bytes, self._clock, self.phase
        self.num_flops = 0  # 2 for a multiply-add

    def label(self, tensors: Iterable[Tensor], label: str) -> None:
        """Say what tensors are; it holds for their whole life."""
        for tensor in tensors:
            if known := self._alive.get(id(tensor.untyped_storage())):
                known[0].label = label

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func is torch.ops.prim.device.default:  # asked for more often than anything is reckoned
            return args[0].device
        kwargs = kwargs or {}
        if (self.phase, torch.is_grad_enabled()) != self._now:
            self._now = (self.phase, torch.is_grad_enabled())
            self._stretch += 1
        out = func(*args, **kwargs)
        self._count(func, args, kwargs, out)
        label = COPIES if func is torch.ops.aten._to_copy.default and self._is_weight(args[0]) else None
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.device.type == self.device_type:
                self._see(tensor, label)
        return out

    def peak(self) -> Peak:
        """The largest sum since ``restart``."""
        parts: Counter[str] = Counter()
        for block in self._blocks:
            if block.born <= self._peak_clock < block.died:
                parts[block.kind] += block.num_bytes
        return Peak(self._peak_bytes, self._peak_phase, dict(parts.most_common()))

    def _is_weight(self, tensor: Tensor) -> bool:
        known = self._alive.get(id(tensor.untyped_storage()))
        return known is not None and known[0].label == WEIGHTS

    def _see(self, tensor: Tensor, label: str | None) -> None:
        storage = tensor.untyped_storage()
        key, num_bytes = id(storage), storage.nbytes()
        if key in self._alive or num_bytes == 0:
            return
        self._clock += 1
        block = Block(num_bytes, self.phase, torch.is_grad_enabled(), self._stretch, self._clock, label=label)
        self._blocks.append(block)
        self._alive[key] = (block, weakref.ref(storage, lambda _: self._bury(key)))
        self._num_bytes += num_bytes
        if self._num_bytes > self._peak_bytes:
            self._peak_bytes, self._peak_clock, self._peak_phase = self._num_bytes, self._clock, self.phase

    def _bury(self, key: int) -> None:
        block, _ = self._alive.pop(key)
        self._clock += 1
        block.died, block.died_in = self._clock, self._stretch
        self._num_bytes -= block.num_bytes

    def _count(self, func: Any, args: tuple, kwargs: dict[str, Any], out: Any) -> None:
        formula = FORMULAS.get(func.overloadpacket)
        if formula is not None:
            self.num_flops += formula(*args, **kwargs, out_val=out)
