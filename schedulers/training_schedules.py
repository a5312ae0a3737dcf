"""Learning rate and decay of the averaged weights: pure functions of the step, so that resuming needs nothing saved."""

from __future__ import annotations

import math

from config import Config


def learning_rate(config: Config, step: int, num_steps: int) -> float:
    """Linear warm-up, flat, then (``cosine``) half a cosine from LR_DECAY_START of the run to zero at its end."""
    rate = config.LEARNING_RATE * min(1.0, (step + 1) / max(1, config.WARMUP_STEPS))
    start = config.LR_DECAY_START * num_steps
    if config.LR_DECAY == "cosine" and step > start:
        rate *= 0.5 * (1 + math.cos(math.pi * (step - start) / max(1.0, num_steps - start)))
    return rate


def motion_weight(config: Config, step: int, num_steps: int) -> float:
    """What moving pixels weigh beyond the others: MOTION_WEIGHT at the first step, falling linearly to zero."""
    return config.MOTION_WEIGHT * (1 - step / num_steps)


def ema_decay(config: Config, step: int) -> float:
    """Share of the old average that survives an update after ``step`` steps, EMA_EVERY steps in one."""
    return min(config.EMA_DECAY, (1 + step) / (10 + step)) ** config.EMA_EVERY


def ema_initial_share(config: Config, num_steps: int) -> float:
    """How much of the average after ``num_steps`` is still the initial weights: the product of all decays.

    Without decay the weights themselves stand for their average.
    """
    if not config.EMA_DECAY:
        return float(num_steps == 0)
    updates = range(config.EMA_EVERY, num_steps + 1, config.EMA_EVERY)
    return math.prod(ema_decay(config, step) for step in updates)
