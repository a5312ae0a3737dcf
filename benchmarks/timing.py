"""Timing on a machine that others may share: calls in turn, several rounds, the median and the best."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from utils.runtime import synchronise

LONG = 20.0  # seconds: a first call that takes so long counts, since what it sets up is lost in it
BRIEF = 3.0  # seconds: calls that are shorter are repeated more often, until they have taken so long
MOST = 10  # times as often

Call = Callable[[], object]


def seconds(call: Call, device: torch.device) -> float:
    """Of one call, until the device has done it."""
    synchronise(device)
    start = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - start


def num_rounds(first: float, repeats: int) -> int:
    """``repeats``, or more where the first call took ``first`` seconds and few of them would be noise."""
    return max(repeats, min(MOST * repeats, int(BRIEF / max(first, 1e-9))))


def alternate(
    calls: dict[str, Call], device: torch.device, *, repeats: int, warmed: Call = lambda: None
) -> dict[str, list[float]]:
    """Seconds of each call, once a round, so that what disturbs the machine disturbs all; after a call to warm up.

    The turn is reversed every other round, so that none always follows the same neighbour. ``warmed`` is called once,
    when each has been called once.
    """
    first = {name: seconds(call, device) for name, call in calls.items()}
    warmed()
    times = {name: [taken] if taken >= LONG else [] for name, taken in first.items()}
    for number in range(num_rounds(max(first.values()), repeats)):
        for name in list(calls)[:: -1 if number % 2 else 1]:
            if len(times[name]) <= number:
                times[name].append(seconds(calls[name], device))
    return times


def repeated(call: Call, device: torch.device, *, repeats: int) -> list[float]:
    """Seconds of ``repeats`` calls, after one to warm up."""
    return alternate({"call": call}, device, repeats=repeats)["call"]


def summary(times: list[float]) -> dict[str, float]:
    """What a result file holds of them."""
    return {"median_s": statistics.median(times), "best_s": min(times), "num": len(times)}


def times_as_fast(ours: list[float], theirs: list[float]) -> float:
    """Their seconds over ours, round by round; the median of the rounds. Above 1: ours is faster."""
    return statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
