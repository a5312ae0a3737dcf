"""Samplers: which timesteps a clip passes on its way, and how one of them leads to the next.

A new sampler is one function of a ``Step``, one line in ``SAMPLERS`` and one word in config's ``SAMPLER``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from schedulers.dpm_solver import dpm_solver_step, log_snr_pairs
from schedulers.noise_schedulers import NoiseSchedule, timestep_pairs


@dataclass(frozen=True, kw_only=True)
class Step:
    """All that a sampler may look at on the way from timestep ``t`` to ``t_prev`` < t; -1 is the clean end.

    ``x_t`` are the noisy clips and ``x_0`` the clean ones estimated from them, both (B, ...) float32. ``before`` is
    t and x_0 of the previous step, None at the first. ``draw`` makes fresh standard noise of the same shape; it is
    called only where noise is added, never before the clean end.
    """

    t: int
    t_prev: int
    x_t: Tensor
    x_0: Tensor
    before: tuple[int, Tensor] | None
    eta: float
    draw: Callable[[], Tensor]

    def for_each(self, t: int) -> Tensor:
        """``t`` for each of the B clips, (B,) int64."""
        return torch.full((len(self.x_t),), t, device=self.x_t.device)


def ddim(schedule: NoiseSchedule, step: Step) -> Tensor:
    """Song et al. 2021; deterministic with ``eta = 0``, the posterior variance of ``ddpm`` with ``eta = 1``."""
    now, then = step.for_each(step.t), step.for_each(step.t_prev)
    noise = step.draw() if step.eta > 0 and step.t_prev >= 0 else torch.zeros_like(step.x_t)
    return schedule.ddim_step(step.x_t, step.x_0, now, then, eta=step.eta, noise=noise)


def ddpm(schedule: NoiseSchedule, step: Step) -> Tensor:
    """Ho et al. 2020: ``ddim`` with ``eta = 1``, whatever the step's own."""
    return ddim(schedule, replace(step, eta=1.0))


def dpm_solver(schedule: NoiseSchedule, step: Step) -> Tensor:
    """Lu et al. 2022; deterministic as ``ddim`` with ``eta = 0``, and of second order.

    Raises:
        ValueError: ``eta`` above 0; the method adds no noise.
    """
    if step.eta > 0:
        raise ValueError(f"eta={step.eta:g} asks for noise, and DPM-Solver++(2M) adds none; wanted 0.")
    return dpm_solver_step(schedule, step.x_t, step.x_0, step.t, step.t_prev, before=step.before)


@dataclass(frozen=True)
class Sampler:
    """``pairs(schedule, num_steps)`` is the way as (t, t_prev), from T - 1 to -1; ``go`` takes one step of it."""

    go: Callable[[NoiseSchedule, Step], Tensor]
    pairs: Callable[[NoiseSchedule, int], list[tuple[int, int]]]


def trailing_pairs(schedule: NoiseSchedule, num_inference_steps: int) -> list[tuple[int, int]]:
    """``timestep_pairs`` of the schedule's own number of steps."""
    return timestep_pairs(schedule.num_steps, num_inference_steps)


SAMPLERS = {  # config's SAMPLER -> how it samples
    "ddim": Sampler(ddim, trailing_pairs),
    "ddpm": Sampler(ddpm, trailing_pairs),
    "dpm++": Sampler(dpm_solver, log_snr_pairs),
}
