"""The training step: the gradient of a few clips, and the update. Trainer, plan and readiness check all take it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffusion.text2sign import TrainingNoise
from methods.training.distributed import exchanging, gradient_norm
from models.text_features import TextFeatures

FORWARD, BACKWARD, UPDATE = "forward", "backward", "update"  # phases of a step


@dataclass(frozen=True)
class Piece:
    """What one forward and backward pass of a step is made of.

    ``video`` (B, C, F, H, W) in [-1, 1], raw ``text`` features of B rows, ``noise`` of B rows, and what moving pixels
    weigh beyond the others. The step's gradient is of ``weight`` times the sum of the B losses over ``num_clips``; with
    its last piece processes exchange theirs.
    """

    video: Tensor
    text: TextFeatures
    noise: TrainingNoise
    num_clips: int
    weight: int = 1
    motion_weight: float = 0.0
    is_last: bool = True


class TrainingStep:
    """Trains ``forward``, a model or what distributes it. ``scaler`` is fp16's, and disabled where there is none.

    Between its two halves the whole gradient stands in the parameters, unscaled and not clipped.
    """

    def __init__(self, forward: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler) -> None:
        self.forward, self.optimizer, self.scaler = forward, optimizer, scaler

    def gradient(
        self, pieces: Iterable[Piece], *, enter: Callable[[str], None] = lambda phase: None
    ) -> tuple[list[Tensor], Tensor]:
        """Losses of each piece, (B,), and the L2 norm of the gradient; ``enter`` hears of each phase."""
        losses = []
        for piece in pieces:
            enter(FORWARD)
            with exchanging(self.forward, now=piece.is_last):
                loss = self.forward(piece.video, piece.text, piece.noise, piece.motion_weight, piece.weight > 0)
                total = self.scaler.scale(loss.sum() * piece.weight / piece.num_clips)
                one = torch.ones_like(total)  # which ``backward`` would make otherwise
                enter(BACKWARD)
                total.backward(one)
            losses.append(loss.detach())
        enter(UPDATE)
        self.scaler.unscale_(self.optimizer)
        return losses, gradient_norm(self._parameters)

    def update(self, norm: Tensor, *, limit: float, skip: bool = False) -> None:
        """Scale a gradient of this ``norm`` down to ``limit`` and step, or ``skip`` that; then drop the gradient."""
        if not skip:
            nn.utils.clip_grads_with_norm_(self._parameters, limit, norm)
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    @property
    def _parameters(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]


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
