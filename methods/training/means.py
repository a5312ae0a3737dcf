"""Sums over training steps: what an interval or an epoch reports is the mean over all of it, not its last step."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence

from methods.training.step import StepResult

SNR_EDGES = (0.001, 0.01, 0.1, 1.0)  # alpha^2 / sigma^2; fixed, so that schedules compare
SNR_NAMES = ("snr_below_0.001", "snr_0.001_to_0.01", "snr_0.01_to_0.1", "snr_0.1_to_1", "snr_above_1")


class Means:
    """Adds up steps on the host; a step that was skipped counts as skipped and in no mean."""

    def __init__(self, snr: Sequence[float]) -> None:
        """``snr``: the signal-to-noise ratio at every timestep."""
        self._bins = [SNR_NAMES[bisect_right(SNR_EDGES, ratio)] for ratio in snr]
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.steps = self.skipped = self.clips = 0
        self.seconds = 0.0  # in steps alone, not in what happens between them
        self._norm_sum = 0.0
        self.largest_norm = 0.0
        self._sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0])  # name -> [sum, number of clips]

    def add(self, step: StepResult, *, seconds: float) -> None:
        """One optimiser step, which took so many ``seconds``."""
        self.steps += 1
        self.clips += len(step.losses)
        self.seconds += seconds
        if step.skipped:
            self.skipped += 1
            return
        self._norm_sum += step.gradient_norm
        self.largest_norm = max(self.largest_norm, step.gradient_norm)
        for loss, when, dropped in zip(step.losses.tolist(), step.t.tolist(), step.drop.tolist(), strict=True):
            for name in ("all", self._bins[when], "captions_dropped" if dropped else "captions_seen"):
                self._sums[name][0] += loss
                self._sums[name][1] += 1

    @property
    def loss(self) -> float:
        """Mean over the clips; NaN where every step was skipped."""
        return self.components().get("all", math.nan)

    @property
    def norm(self) -> float:
        """Mean gradient norm before clipping; NaN where every step was skipped."""
        taken = self.steps - self.skipped
        return self._norm_sum / taken if taken else math.nan

    def components(self) -> dict[str, float]:
        """Mean loss of ``all`` clips, of each SNR bin and of clips with and without captions; empty ones are absent."""
        return {name: total / number for name, (total, number) in self._sums.items()}
