"""What an optimiser step has shown."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class StepResult:
    """After ``step`` steps: ``losses``, ``t`` and ``drop`` of the last one's clips, (B,) each, on the host.

    ``gradient_norm`` is that before clipping. A step that was ``skipped`` changed no weight; ``skipped_total`` counts
    those since the beginning.
    """

    step: int
    losses: Tensor
    t: Tensor
    drop: Tensor
    gradient_norm: float
    learning_rate: float
    skipped: bool
    skipped_total: int

    @property
    def loss(self) -> float:
        """The mean over its clips."""
        return float(self.losses.mean())
