"""How long a step will take on this machine: a slice of the real model is run, and its speed taken for the whole.

The slice is the same architecture, width and precision with one block, for so few clips and frames that it takes
seconds. What share of the machine's matmul rate it reaches is measured, not assumed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from config import Config, ConfigError
from diffusion.text2sign import ARCHITECTURES, Text2Sign
from methods.cost import matmul_peak
from methods.planning.memory import Place, TrainingPlan, trace_step, tracing
from methods.planning.tensors import TrainingTensors, empty_model
from utils import runtime

SECONDS_AT_PEAK = 1.5  # of a slice, if it reached the machine's matmul rate; in truth two or three times that
MEMORY_SHARE = 0.5  # of the device, for a slice
FEWEST_FRAMES = 4
REPEATS = 3  # of a quick slice, of which the best counts
ENOUGH = 1.0  # seconds; a slice that takes longer is timed once
DEVIATION = 0.02  # of the slice's weights, whose values must only stay finite


@dataclass(frozen=True)
class Speed:
    """``matmul_rate`` is operations a second at best, ``share`` what a step reaches of it, None if not known.

    ``update_seconds`` are for one parameter: clipping, AdamW, averaging.
    """

    matmul_rate: float
    share: float | None = None
    update_seconds: float = 0.0

    def floor(self, plan: TrainingPlan) -> float:
        """Seconds of a step that is nothing but products at the matmul rate."""
        return plan.num_flops / self.matmul_rate

    def expected(self, plan: TrainingPlan) -> float | None:
        """Seconds of a step at the share."""
        if self.share is None:
            return None
        return self.floor(plan) / self.share + self.update_seconds * plan.num_trainable


def measure_speed(config: Config, place: Place, *, text_width: int, num_tokens: int) -> Speed:
    """The matmul rate, and the share of it that a slice reaches; without one if every slice takes too long."""
    rate = matmul_peak(place.device, place.dtype)
    memory = runtime.memory_bytes(place.device)
    for part in slices(config):
        with tracing(place) as trace:
            model = one_block(part, place, text_width=text_width)
            plan = trace_step(_tensors(part, model, place, num_tokens), trace)
        small_enough = plan.peak.num_bytes < MEMORY_SHARE * memory
        if small_enough and plan.num_flops < SECONDS_AT_PEAK * rate:
            with FakeTensorMode():
                model = one_block(part, place, text_width=text_width)
            seconds, update = _time_step(_tensors(part, materialised(model, place.device), place, num_tokens))
            return Speed(rate, plan.num_flops / seconds / rate, update / plan.num_trainable)
    return Speed(rate)


def slices(config: Config) -> Iterator[Config]:
    """Ever smaller parts of the config's step: half the clips, half the frames."""
    part = replace(config, GRADIENT_ACCUMULATION_STEPS=1)
    yield part
    while part.BATCH_SIZE > 1:
        part = replace(part, BATCH_SIZE=part.BATCH_SIZE // 2)
        yield part
    while part.NUM_FRAMES // 2 >= FEWEST_FRAMES:
        try:
            part = replace(part, NUM_FRAMES=part.NUM_FRAMES // 2)
        except ConfigError:  # no whole number of tubelets
            return
        yield part


def one_block(part: Config, place: Place, *, text_width: int) -> Text2Sign:
    """The model of a slice: of blocks that are alike only the first."""
    model = empty_model(part, text_width=text_width, device=place.traced, dtype=place.dtype)
    if shorten := ARCHITECTURES[part.MODEL_ARCHITECTURE].shorten:
        shorten(model.backbone)
    return model


def materialised(model: Text2Sign, device: torch.device) -> Text2Sign:
    """A model made under FakeTensorMode with memory of its own, in place: small random weights, buffers of ones."""
    for module in model.modules():
        for name, p in list(module.named_parameters(recurse=False)):
            value = torch.empty(p.shape, dtype=p.dtype, device=device).normal_(std=DEVIATION)
            setattr(module, name, nn.Parameter(value, requires_grad=p.requires_grad))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.ones(buffer.shape, dtype=buffer.dtype, device=device))
    return model


def _tensors(part: Config, model: Text2Sign, place: Place, num_tokens: int) -> TrainingTensors:
    return TrainingTensors(part, model, num_tokens=num_tokens, averages_here=place.averages_here(part))


def _time_step(run: TrainingTensors) -> tuple[float, float]:
    """Seconds of forward and backward, and of the update; the first step only chooses kernels."""
    run.step()
    passes, updates = [], []
    while len(passes) < REPEATS and sum(passes) < ENOUGH:
        times: list[float] = []

        def enter(phase: str, times: list[float] = times) -> None:
            runtime.synchronise(run.device)
            times.append(time.perf_counter())

        run.step(enter)
        enter("end")
        passes.append(times[-2] - times[0])
        updates.append(times[-1] - times[-2])
    return min(passes), min(updates)
