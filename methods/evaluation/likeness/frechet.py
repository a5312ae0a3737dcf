"""Frechet video distance with a network that the user gives: no weights come with the project.

The file is TorchScript, as StyleGAN-V publishes its I3D: called with (N, 3, F, H, W) float32 in [0, 255] and
``rescale=True, resize=True, return_features=True`` it gives (N, E). Distances from few clips are too large, and those
of different numbers do not compare; so N stands beside them, and what two halves of the real clips get.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from config import UserError

AT_ONCE = 8  # clips


class FrechetError(UserError):
    """The weights' file is no such network, or there are too few clips."""


def frechet_distance(one: Tensor, other: Tensor) -> float:
    """Squared Frechet (Wasserstein-2) distance of the Gaussians of two sets of features (N, E), (M, E) (Dowson &
    Landau 1982, eq. 2): |mean - mean'|^2 + tr(S + S' - 2 (S S')^(1/2)).

    The trace of the root is the sum of the singular values of the product of the centred features: no root is taken of
    a matrix that has none for want of clips.
    """
    a, b = (features.double() for features in (one, other))
    centred = [(each - each.mean(0)) / max(len(each) - 1, 1) ** 0.5 for each in (a, b)]
    root = torch.linalg.matrix_norm(centred[0] @ centred[1].T, ord="nuc")
    spread = sum(each.square().sum() for each in centred)
    return float((a.mean(0) - b.mean(0)).square().sum() + spread - 2 * root)


def load_network(path: Path) -> torch.jit.ScriptModule:
    """Raises:
    FrechetError: no TorchScript file.
    """
    try:
        return torch.jit.load(str(path), map_location="cpu").eval()
    except (OSError, RuntimeError, ValueError) as error:
        raise FrechetError(f"--fvd_weights {path} is no TorchScript file ({str(error).strip()[:100]!r}).") from error


@torch.no_grad()
def features_of(clips: Sequence[np.ndarray], network: torch.jit.ScriptModule) -> Tensor:
    """(F, H, W, 3) uint8 each -> (N, E).

    Raises:
        FrechetError: the network does not take them.
    """
    found = []
    for start in range(0, len(clips), AT_ONCE):
        batch = torch.from_numpy(np.stack(clips[start : start + AT_ONCE])).permute(0, 4, 1, 2, 3).float()
        try:
            found.append(network(batch, rescale=True, resize=True, return_features=True).flatten(1))
        except (RuntimeError, torch.jit.Error) as error:
            reason = str(error).strip().splitlines()[-1][:150]
            raise FrechetError(
                f"--fvd_weights: the network does not take clips of {tuple(batch.shape[1:])} ({reason}); I3D needs 10 "
                "frames or more."
            ) from error
    return torch.cat(found)


def measure_frechet(
    generated: Sequence[np.ndarray], real: Sequence[np.ndarray], network: torch.jit.ScriptModule
) -> dict[str, float | int | None]:
    """The distance of ``generated`` from ``real``, and of every other real clip from the rest, with their numbers."""
    made, taken = features_of(generated, network), features_of(real, network)
    enough = min(len(made), len(taken)) > 1
    return {
        "generated": frechet_distance(made, taken) if enough else None,
        "num_generated": len(made),
        "num_real": len(taken),
        "real": frechet_distance(taken[::2], taken[1::2]) if len(taken) > 3 else None,
        "num_real_halves": len(taken) // 2,
    }
