"""What an autoencoder costs, measured on real clips beside what is generated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from config import Config
from dataset import load_dataset
from diffusion.text2sign import create_text2sign
from methods.evaluation.evaluator import decoded
from methods.evaluation.likeness.hands import measure_hands
from methods.evaluation.likeness.order import ladders
from methods.evaluation.measures import CEILING, FIGURES, figure_rows, hand_rows
from methods.evaluation.part import Part
from methods.sampling.loading import LoadedModel
from models.text_encoder import TextEncoder
from utils.video import batch_from_uint8


def part_of(config: Config, encoder: TextEncoder) -> Part:
    """Three real clips and a fresh model, whose autoencoder is fitted to them."""
    data, rows = load_dataset(config), [0, 1, 2]
    model = create_text2sign(config, encoder)
    if model.autoencoder is not None:
        model.autoencoder.fit([data.videos(rows)])
    return Part("train", LoadedModel(model, encoder, config, 0, Path("none.pt")), data, rows, None, [], None)


def test_real_clips_through_the_autoencoder_are_measured(
    debug_config: Callable[..., Config], encoder: TextEncoder
) -> None:
    part = part_of(debug_config(AUTOENCODER="pca:12", IMAGE_SIZE=32, TINYFUSION_VARIANT="DiT-XXS/2"), encoder)
    found = decoded(part)["autoencoder"]
    autoencoder = part.loaded.model.autoencoder
    back = autoencoder.decode(autoencoder.encode(batch_from_uint8(part.real)))
    assert np.abs(batch_from_uint8(part.decoded).numpy() - back.clamp(-1, 1).numpy()).max() < 0.005
    assert 0.5 < found["explained_worst"] <= found["explained"] < 1
    assert found["moving_psnr"] > found["moving_psnr_frozen"]
    assert len(figure_rows({"autoencoder": found})) == len(FIGURES) + len(CEILING)


def test_in_pixels_there_is_no_such_ceiling(debug_config: Callable[..., Config], encoder: TextEncoder) -> None:
    assert decoded(part_of(debug_config(), encoder)) == {"autoencoder": None}
    assert len(figure_rows({"autoencoder": None})) == len(FIGURES)


def test_hands_are_looked_for_in_decoded_clips_too() -> None:
    real = [np.full((2, 8, 8, 3), value, dtype=np.uint8) for value in (100, 200)]

    def find(clip: np.ndarray) -> np.ndarray:
        """A hand in every frame that is brighter than 50, its place the brightness."""
        points = np.full((len(clip), 2, 21, 2), np.nan)
        points[clip.mean((1, 2, 3)) > 50, 0] = clip.mean() + np.arange(42).reshape(21, 2)
        return points

    known = {"ladders": ladders(real, ["a", "b"], seed=0), "find": find}
    dark = [real[0], np.zeros_like(real[1])]
    found = measure_hands(real, ["a", "b"], real, ["a", "b"], **known, decoded=dark)
    assert found is not None and found["decoded"]["found"] == 0.5
    assert "real, encoded and decoded" in [row[0] for row in hand_rows({"hands": found})]
    without = measure_hands(real, ["a", "b"], real, ["a", "b"], **known)
    assert "real, encoded and decoded" not in [row[0] for row in hand_rows({"hands": without})]
