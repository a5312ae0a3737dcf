"""The same clips under the same noise every time: errors that two steps and two runs may be compared by.

Which clips, their noise and the timesteps are a function of SPLIT_SEED and the data alone. The loss is the mean squared
error of the x_0 estimate in the space where noise is added, over the middles of equal parts of [0, T), without weights
and without caption dropout: so it means the same under every PREDICTION_TYPE, LOSS_WEIGHTING and SEED. A model that
knows nothing but the mean scores 1 where clips are standardised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from config import Config
from dataset import TextToSignDataset
from diffusion.text2sign import Text2Sign
from methods.evaluation.ranking import noise_levels
from models.text_encoder import TextEncoder
from utils import runtime
from utils.contact_sheet import contact_sheet
from utils.video import to_uint8

PICTURED_LEVELS = (0, 3, 6)  # of the noise levels
PICTURE_SIDE = 64  # px, at least, of a cell: a card of TensorBoard shows five beside each other as they are
COLUMNS = ["x_t", "x_0 hat", "x_0", "eps hat", "eps"]
NOISE_RANGE = 3.0  # deviations of noise between black and white


@dataclass(frozen=True)
class Level:
    """One timestep over all clips: the error of the x_0 estimate, and predicted noise as a population, near N(0, 1)."""

    t: int
    snr: float  # alpha^2 / sigma^2
    x_0_error: float  # mean squared error of the x_0 estimate
    predicted_mean: float  # of eps_hat over all values
    predicted_std: float

    @property
    def noise_error(self) -> float:
        """Mean squared error of eps_hat, which is linear in the x_0 estimate."""
        return self.snr * self.x_0_error


@dataclass(frozen=True)
class FixedErrors:
    """A measurement: a level for each timestep, and the first clip's estimates as a picture (H, W, 3) uint8."""

    levels: list[Level]
    picture: np.ndarray

    @property
    def loss(self) -> float:
        """Mean squared error of the x_0 estimate over all levels."""
        return sum(level.x_0_error for level in self.levels) / len(self.levels)


class FixedClips:
    """At most NUM_VALIDATION_CLIPS of ``indices``, held out ones where there are any."""

    def __init__(self, config: Config, data: TextToSignDataset, indices: list[int]) -> None:
        draw = runtime.generator(config.SPLIT_SEED, "validation clips")
        order = torch.randperm(len(indices), generator=draw).tolist()
        self.indices = [indices[i] for i in order[: config.NUM_VALIDATION_CLIPS]]
        self._config, self._data = config, data

    @torch.no_grad()
    def measure(self, model: Text2Sign, encoder: TextEncoder) -> FixedErrors:
        """Errors of ``model`` as it stands; no randomness of any other place is touched."""
        levels, rows = [], []
        for position, t in enumerate(noise_levels(self._config.TIMESTEPS)):
            moments, first = [], None
            for start in range(0, len(self.indices), self._config.BATCH_SIZE):
                part = self.indices[start : start + self._config.BATCH_SIZE]
                estimates = self._estimate(model, encoder, part, t)
                moments.append(_moments(*estimates))
                first = first or tuple(tensor[0] for tensor in estimates)
            levels.append(_level(t, model, torch.cat(moments).cpu().double().mean(0)))
            if position in PICTURED_LEVELS:
                rows.append((f"t={t}", _cells(model, *first)))
        return FixedErrors(levels, np.asarray(contact_sheet(rows, COLUMNS, side=PICTURE_SIDE)))

    def _estimate(
        self, model: Text2Sign, encoder: TextEncoder, rows: list[int], t: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """(x_t, x_0, its estimate, eps, its estimate) of some clips, each (B, C, F, H, W)."""
        device, shape = model.clip_mean.device, model.clip_shape
        video = self._data.videos(rows).to(device)
        draws = (runtime.generator(self._config.SPLIT_SEED, "validation", self._data.names[row], t) for row in rows)
        eps = torch.stack([torch.randn(shape, generator=draw) for draw in draws]).to(device)
        now = torch.full((len(rows),), t, device=device)
        text = encoder.encode([self._data.texts[row] for row in rows]).to(device)
        x_0, x_t, x_0_hat = model.denoise(video, text, eps, now)
        return x_t, x_0, x_0_hat, eps, model.schedule.to_eps(x_0_hat, x_t, now)


def _moments(x_t: Tensor, x_0: Tensor, x_0_hat: Tensor, eps: Tensor, eps_hat: Tensor) -> Tensor:
    """(B, 3): each clip's error of the x_0 estimate, mean of eps_hat and of its square."""
    parts = ((x_0_hat - x_0).square(), eps_hat, eps_hat.square())
    return torch.stack([part.flatten(1).mean(1) for part in parts], dim=1)


def _level(t: int, model: Text2Sign, moments: Tensor) -> Level:
    error, mean, square = moments.tolist()
    snr = float(model.schedule.log_snr()[t].exp())
    return Level(t, snr, x_0_error=error, predicted_mean=mean, predicted_std=max(square - mean**2, 0.0) ** 0.5)


def _cells(model: Text2Sign, x_t: Tensor, x_0: Tensor, x_0_hat: Tensor, eps: Tensor, eps_hat: Tensor) -> list:
    """The middle frame of each, (1, H, W, 3) uint8, in the order of COLUMNS.

    A value that is no number is drawn black, so that a picture cannot stop a run; the errors logged beside it are NaN.
    """
    middle = slice(x_t.shape[1] // 2, x_t.shape[1] // 2 + 1)
    clips = [model.unstandardise(part) for part in (x_t, x_0_hat, x_0)] + [eps_hat / NOISE_RANGE, eps / NOISE_RANGE]
    return [to_uint8(clip[:, middle].nan_to_num(-1.0, 1.0, -1.0)) for clip in clips]
