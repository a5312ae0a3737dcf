"""methods/evaluation/hand_crop.py: the signing hand's pixels, square and picture."""

from __future__ import annotations

import numpy as np
import pytest

from methods.evaluation.hand_crop import MARGIN, MIN_SHARE, TAIL, hand_crop, hand_mask, hand_square
from tests.fingerspelling.test_drawing import clip, flat_hand
from utils.fingerspelling.drawing import ARM, BACKGROUND, EDGE_SHADE, FACE, FINGERS, PALM, draw_clip

SQUARE = (40.0, 60.0, 220.0)  # x0, y0, side in units: the whole of ``flat_hand`` with room around it


def drawn(square: tuple[float, float, float], *, side: int = 64) -> np.ndarray:
    """(8, side, side, 3) uint8: a hand that moves to the right, as far as it is in ``square``."""
    hand = flat_hand()
    hand[..., 0] += 3.0 * np.arange(8)[:, None]
    return draw_clip(clip(right=hand), side, square=square)


def block(*, side: int = 40, left: int = 10, top: int = 20, width: int = 12, height: int = 8) -> np.ndarray:
    """(2, side, side, 3) uint8: a red rectangle on white."""
    frames = np.full((2, side, side, 3), 255, dtype=np.uint8)
    frames[:, top : top + height, left : left + width] = (230, 40, 40)
    return frames


def test_every_finger_and_its_edge_is_hand_and_nothing_grey_or_beige_is():
    fingers = np.array(FINGERS, dtype=np.float64)
    assert hand_mask(fingers.astype(np.uint8)).all()
    assert hand_mask((EDGE_SHADE * fingers).round().astype(np.uint8)).all()
    assert not hand_mask(np.array([BACKGROUND, FACE, ARM, PALM, (0, 0, 0)], dtype=np.uint8)).any()


def test_the_mask_is_the_chroma_in_wide_arithmetic():
    frames = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(hand_mask(frames), np.ptp(frames.astype(int), axis=-1) > 60)


def test_the_square_around_a_rectangle_has_its_middle_and_its_longer_side():
    x0, y0, side = hand_square(block())
    assert (x0 + side / 2, y0 + side / 2) == pytest.approx((16.0, 24.0))
    assert side == pytest.approx(MARGIN * (1 - 2 * TAIL) * 12)


def test_stray_pixels_far_from_the_hand_hardly_move_the_square():
    frames = block(side=64, width=20, height=20)
    stray = frames.copy()
    stray[:, 63, 60:64] = (20, 160, 60)  # 4 against 400
    np.testing.assert_allclose(hand_square(stray), hand_square(frames), atol=0.5)


def test_a_clip_without_enough_colour_has_no_hand():
    grey = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 1), dtype=np.uint8).repeat(3, axis=3)
    few = np.full((1, 40, 40, 3), 255, dtype=np.uint8)
    few[0, 0, : int(1600 * MIN_SHARE) - 1] = (230, 40, 40)
    for frames in (grey, few):
        assert hand_square(frames) is None and hand_crop(frames, 32) is None


@pytest.mark.parametrize("shift", [(8.0, 0.0), (-13.0, 21.0), (5.7, -17.3)])  # units
@pytest.mark.parametrize("scale", [0.75, 1.0, 1.3, 1.6])
def test_shifting_and_scaling_the_drawing_leaves_the_crop_nearly_as_it_was(shift: tuple[float, float], scale: float):
    """Not exactly: each drawing is rasterised anew at 64 px, and a hand of 14 px is enlarged more than one of 30 px."""
    x0, y0, side = SQUARE
    grown = (scale - 1) * side / 2
    here, there = drawn(SQUARE), drawn((x0 + shift[0] - grown, y0 + shift[1] - grown, scale * side))
    assert _difference(hand_crop(here, 64), hand_crop(there, 64)) < 0.33
    assert _difference(here, there) > 0.7


def test_a_shift_by_whole_pixels_inside_the_picture_changes_no_pixel():
    crop = hand_crop(block(side=64, left=20, top=20), 24)
    np.testing.assert_array_equal(hand_crop(block(side=64, left=31, top=26), 24), crop)


def test_enlarging_every_pixel_enlarges_the_square_as_much():
    frames = drawn(SQUARE, side=48)
    larger = frames.repeat(3, axis=1).repeat(3, axis=2)
    np.testing.assert_allclose(hand_square(larger), 3 * np.array(hand_square(frames)), rtol=1e-9)


def test_outside_the_picture_the_crop_is_white():
    crop = hand_crop(block(left=0, top=0, width=8, height=8), 32)
    assert crop.shape == (2, 32, 32, 3) and crop.dtype == np.uint8
    assert (crop[:, 0] == 255).all() and (crop[:, :, 0] == 255).all()
    assert hand_mask(crop[:, 16, 16]).all()


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean square difference over the deviation of ``a`` from its mean colour."""
    apart = a.astype(np.float64) - b
    return float(np.sqrt(np.mean(apart**2) / np.mean((a - a.mean(axis=(0, 1, 2))) ** 2)))
