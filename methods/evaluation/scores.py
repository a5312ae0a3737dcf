"""A share of right answers, with what chance alone would give."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

Z_95 = 1.959964  # two-sided 95 % quantile of the normal distribution


@dataclass(frozen=True)
class Score:
    """``correct`` of ``num``, a sum of shares where a trial is an average; ``chance`` is that of a right guess."""

    correct: float
    num: int
    chance: float

    @property
    def accuracy(self) -> float:
        return self.correct / self.num

    def interval(self) -> tuple[float, float]:
        """95 % Wilson score interval of the accuracy (Wilson 1927)."""
        p, n, z2 = self.accuracy, self.num, Z_95**2
        centre = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = Z_95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
        return max(0.0, centre - half), min(1.0, centre + half)

    def chance_interval(self) -> tuple[float, float]:
        """Central 95 % of the accuracy of guessing, from the binomial distribution."""
        n, p = self.num, self.chance
        if p in (0.0, 1.0):
            return p, p
        # Logarithms, since the number of ways leaves a float's range above n = 1,029.
        ways = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(n + 1)]
        below = np.cumsum([math.exp(w + k * math.log(p) + (n - k) * math.log1p(-p)) for k, w in enumerate(ways)])
        low = int(np.searchsorted(below, 0.025))
        return low / n, int(np.searchsorted(below, 0.975)) / n

    def to_dict(self) -> dict[str, object]:
        """Everything that a report states."""
        low, high = self.interval()
        by_guessing = self.chance_interval()
        return {**asdict(self), "accuracy": self.accuracy, "interval_95": [low, high], "chance_95": list(by_guessing)}
