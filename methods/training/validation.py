"""The same clips under the same noise every time: errors that two steps and two runs may be compared by.

Which clips and their noise are a function of SPLIT_SEED and the data alone. The loss is the mean squared error of the
x_0 estimate in the space where noise is added, over levels of noise by SNR (methods/evaluation/denoising.py), without
weights and without caption dropout: so it means the same under every PREDICTION_TYPE, LOSS_WEIGHTING and SEED, and
under every schedule that reaches those levels. A model that knows nothing but the mean scores 1 where clips are
standardised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from config import Config
from dataset import TextToSignDataset
from diffusion.text2sign import Text2Sign
from methods.evaluation.denoising import Estimates, Level, measure_levels
from models.text_encoder import TextEncoder
from utils import runtime
from utils.contact_sheet import contact_sheet
from utils.video import to_uint8

PICTURED = (0.0, 0.4, 0.8)  # where among the noise levels
PICTURE_SIDE = 64  # px, at least, of a cell: a card of TensorBoard shows five beside each other as they are
COLUMNS = ["x_t", "x_0 hat", "x_0", "eps hat", "eps"]
NOISE_RANGE = 3.0  # deviations of noise between black and white


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

    def measure(self, model: Text2Sign, encoder: TextEncoder) -> FixedErrors:
        """Errors of ``model`` as it stands; no randomness of any other place is touched."""
        first: dict[int, Estimates] = {}
        levels = measure_levels(
            model, encoder, self._data, self.indices, seed=self._config.SPLIT_SEED, batch_size=self._config.BATCH_SIZE,
            see_first=lambda t, estimates: first.update({t: tuple(part[0] for part in estimates)}),
        )  # fmt: skip
        pictured = sorted({levels[round(share * (len(levels) - 1))].t for share in PICTURED})
        rows = [(f"t={t}", _cells(model, *first[t])) for t in pictured]
        return FixedErrors(levels, np.asarray(contact_sheet(rows, COLUMNS, side=PICTURE_SIDE)))


def _cells(model: Text2Sign, x_t: Tensor, x_0: Tensor, x_0_hat: Tensor, eps: Tensor, eps_hat: Tensor) -> list:
    """The middle frame of each, (1, H, W, 3) uint8, in the order of COLUMNS.

    A value that is no number is drawn black, so that a picture cannot stop a run; the errors logged beside it are NaN.
    """
    middle = slice(x_t.shape[1] // 2, x_t.shape[1] // 2 + 1)
    clips = [model.unstandardise(part[None, :, middle])[0] for part in (x_t, x_0_hat, x_0)]
    clips += [_as_colours(part[:, middle]) / NOISE_RANGE for part in (eps_hat, eps)]
    return [to_uint8(clip.nan_to_num(-1.0, 1.0, -1.0)) for clip in clips]


def _as_colours(noise: Tensor) -> Tensor:
    """(C, F, H, W) -> (3, F, H, W): the first three channels, or fewer again and again."""
    return noise[[channel % len(noise) for channel in range(3)]]
