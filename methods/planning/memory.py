"""The memory and the arithmetic of a config, found by running its step on tensors without memory.

Nothing is modelled: batch, frames, chunks, checkpointing and precision matter because the real model is run, with
torch's FakeTensorMode in the place of numbers. What an operator allocates within itself is not seen.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from config import Config, ConfigError
from methods.planning.tensors import TrainingTensors, empty_model, sample
from methods.planning.trace import WEIGHTS, MemoryTrace, Peak
from methods.training.step import FORWARD
from utils import runtime

TABLES = "fixed tables (positions, statistics)"
GRADIENTS = "gradients"
MOMENTS = "optimiser's moments (AdamW)"
AVERAGES = "averaged weights (EMA)"
BYTES = 4  # of a float32: weights, gradients, each moment, average


@dataclass(frozen=True)
class Place:
    """The device that is planned for, whether it is here, and autocast's dtype there (None: float32)."""

    device: torch.device
    present: bool
    dtype: torch.dtype | None

    @property
    def traced(self) -> torch.device:
        """Whose operators are run: those of the planned GPU if it is here, else the CPU's."""
        return torch.device("cuda" if self.device.type == "cuda" and self.present else "cpu")

    def averages_here(self, config: Config) -> bool:
        """Whether the averaged weights take memory of the device itself, if there are any."""
        return config.EMA_DEVICE == "model" or self.device.type == "cpu"


def place_of(config: Config) -> Place:
    """The device that the config names; an absent one is planned for with bfloat16, unless the config says otherwise.

    Raises:
        ConfigError: fp16 on a CPU.
    """
    try:
        device = runtime.resolve_device(config.DEVICE)
    except ConfigError:  # absent
        device = torch.device(config.DEVICE)
        assumed = "bf16" if config.MIXED_PRECISION == "auto" and device.type == "cuda" else config.MIXED_PRECISION
        return Place(device, present=False, dtype=runtime.resolve_precision(assumed, device))
    return Place(device, present=True, dtype=runtime.resolve_precision(config.MIXED_PRECISION, device))


@dataclass(frozen=True)
class TrainingPlan:
    """Of one optimiser step: memory on the device in bytes, and operations, 2 for a multiply-add.

    ``host_average`` bytes lie on the host beside it. What checkpointing recomputes counts as operations.
    """

    num_parameters: int
    num_trainable: int
    peak: Peak
    host_average: int
    num_flops: float


@contextmanager
def tracing(place: Place) -> Iterator[MemoryTrace]:
    """A world without memory, and what happens in it."""
    gc.collect()  # so that no old cycle dies, and is counted, meanwhile
    with FakeTensorMode(), MemoryTrace(place.traced.type) as trace:
        yield trace


def plan_training(config: Config, place: Place, *, text_width: int, num_tokens: int) -> TrainingPlan:
    """The second step of a training, when the optimiser has its moments.

    Raises:
        UserError: the config freezes what cannot be frozen.
    """
    with tracing(place) as trace:
        model = empty_model(config, text_width=text_width, device=place.traced, dtype=place.dtype)
        averages_here = place.averages_here(config)
        run = TrainingTensors(config, model, num_tokens=num_tokens, averages_here=averages_here)
        return trace_step(run, trace)


def trace_step(run: TrainingTensors, trace: MemoryTrace) -> TrainingPlan:
    """Run one step under ``trace``, with a name for everything that stays from step to step."""
    _label_model(run.model, trace)
    trace.label(_moments(run.optimizer), MOMENTS)
    trace.label(run.ema.average.values() if run.ema else [], AVERAGES)
    for p in run.trainable:
        p.register_post_accumulate_grad_hook(lambda p: trace.label([p.grad], GRADIENTS))
    trace.restart()

    def enter(phase: str) -> None:
        trace.phase = phase

    run.step(enter)
    num_trainable = sum(p.numel() for p in run.trainable)
    return TrainingPlan(
        num_parameters=sum(p.numel() for p in run.model.parameters()),
        num_trainable=num_trainable,
        peak=trace.peak(),
        host_average=0 if run.ema or not run.config.EMA_DECAY else BYTES * num_trainable,
        num_flops=trace.num_flops * run.config.GRADIENT_ACCUMULATION_STEPS / run.num_parts,
    )


def plan_sampling(config: Config, place: Place, *, text_width: int, num_tokens: int, num_clips: int) -> Peak:
    """The memory of sampling ``num_clips`` at once, averaged weights in place of the trained ones."""
    with tracing(place) as trace:
        model = empty_model(config, text_width=text_width, device=place.traced, dtype=place.dtype)
        _label_model(model, trace)
        trace.restart()
        trace.phase = FORWARD
        sample(model, config, num_clips=num_clips, num_tokens=num_tokens)
        return trace.peak()


def _label_model(model: nn.Module, trace: MemoryTrace) -> None:
    trace.label(model.parameters(), WEIGHTS)
    trace.label(model.buffers(), TABLES)


def _moments(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]


def levers(config: Config, place: Place) -> list[dict[str, object]]:
    """Settings that spare memory and leave the results as they are, each as what it changes; the cheapest first."""
    found: list[dict[str, object]] = []
    if config.EMA_DECAY and config.EMA_DEVICE == "model" and place.device.type != "cpu":
        found.append({"EMA_DEVICE": "cpu"})
    if not config.GRADIENT_CHECKPOINTING:
        found.append({"GRADIENT_CHECKPOINTING": True})
    chunk = min(config.TINYFUSION_FRAME_CHUNK_SIZE, config.NUM_FRAMES)
    if config.MODEL_ARCHITECTURE == "tinyfusion" and chunk > 1:
        found.append({"TINYFUSION_FRAME_CHUNK_SIZE": chunk // 2})
    if config.BATCH_SIZE > 1:
        part = next(divisor for divisor in range(2, config.BATCH_SIZE + 1) if config.BATCH_SIZE % divisor == 0)
        accumulated = config.GRADIENT_ACCUMULATION_STEPS * part
        found.append({"BATCH_SIZE": config.BATCH_SIZE // part, "GRADIENT_ACCUMULATION_STEPS": accumulated})
    return found
