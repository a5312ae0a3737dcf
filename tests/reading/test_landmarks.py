"""utils/reading/landmarks.py: squares, gaps and drawings of made landmarks, in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from utils.fingerspelling.drawing import FINGERS, Points
from utils.reading.landmarks import PALM, SHOULDERS, Signer, draw_signer, fill_gaps, pose_square, signer_of
from utils.reading.signer import MARGIN, Square

LEFT, RIGHT = 0, 1
WIDE = np.full((3, 90, 160, 3), 128, dtype=np.uint8)  # a picture of 16:9 without bars


def signer(*, hand: tuple[float, float] | None = (0.5, 0.7), side: int = RIGHT, num_frames: int = 9) -> Points:
    """In shares of the shorter side of a picture of 16:9: shoulders 0.4 apart about its middle, arms that end below it,
    and one hand 0.1 wide and high with its upper left corner at ``hand``."""
    body = np.array([(1.1, 0.5), (0.7, 0.5), (1.2, 0.9), (0.6, 0.9), (1.2, 1.3), (0.6, 1.3)])
    hands = np.full((2, num_frames, 21, 3), np.nan)
    if hand is not None:
        grid = np.stack([np.linspace(0, 0.1, 21), np.linspace(0.1, 0, 21), np.zeros(21)], axis=1)
        hands[side] = grid + (*hand, 0)
    return Points(np.tile(body, (num_frames, 1, 1)), np.full((num_frames, 468, 2), 0.2), hands)


def in_units(points: Points) -> Signer:
    found = signer_of(points, 10)
    assert found is not None
    return found


def test_shoulders_are_as_far_apart_as_in_the_packaged_letters() -> None:
    found = in_units(signer())
    assert found.unit == pytest.approx(SHOULDERS / 0.4)
    np.testing.assert_allclose(found.points.body[:, 0] - found.points.body[:, 1], [[SHOULDERS, 0]] * 9)


def test_nobody_is_found_where_no_frame_shows_shoulders() -> None:
    points = signer()
    points.body[:] = np.nan
    assert signer_of(points, 10) is None


def test_a_hand_wider_than_any_is_none() -> None:
    points = signer()
    points.hands[RIGHT, 4] *= 5
    assert np.isfinite(in_units(points).points.hands[RIGHT, 3:6]).all()  # one frame is filled
    points.hands[RIGHT] *= 5
    assert np.isnan(in_units(points).points.hands).all()


@pytest.mark.parametrize("most", [2, 3, 4])
def test_short_gaps_are_straight_lines_and_longer_ones_and_ends_stay(most: int) -> None:
    part = np.arange(12.0)[:, None, None] * [[1.0, -2.0], [3.0, 0.5]]
    holed = part.copy()
    holed[[0, 2, 4, 5, 6, 11]] = np.nan  # gaps of 1 and 3, and both ends
    filled = fill_gaps(holed, most)
    lost = [0, 11] if most >= 3 else [0, 4, 5, 6, 11]
    np.testing.assert_allclose(np.delete(filled, lost, axis=0), np.delete(part, lost, axis=0))
    assert np.isnan(filled[lost]).all()


def test_the_square_is_around_shoulders_and_hand_with_a_margin() -> None:
    found = pose_square(in_units(signer(hand=(0.5, 0.6))), WIDE)
    assert found.side == pytest.approx(MARGIN * 0.6)  # from the hand at 0.5 to the shoulder at 1.1
    assert (found.left + found.side / 2, found.top + found.side / 2) == pytest.approx((0.8, 0.6))


def test_a_margin_never_leaves_the_picture_but_a_hand_is_never_cut_for_it() -> None:
    assert pose_square(in_units(signer(hand=(0.15, 0.7))), WIDE) == pytest.approx((0.125, 0.0, 1.0))
    left, top, side = pose_square(in_units(signer(hand=(0.0, 0.9))), WIDE)
    assert (left, top, side) == pytest.approx((0.0, -0.05, 1.1))  # wider than the picture is high


def test_a_lost_hand_is_kept_where_its_arm_points_unless_the_wrist_is_out_of_the_picture() -> None:
    points = signer(hand=(0.8, 0.55))
    without = pose_square(in_units(points), WIDE)
    assert without.side == pytest.approx(MARGIN * 0.4)
    points.body[4, [2, 4]] = (1.0, 0.7), (1.2, 0.7)  # the forearm, so that the hand is about 1.3
    palm = PALM * 0.4 / SHOULDERS
    assert pose_square(in_units(points), WIDE).side == pytest.approx(MARGIN * (1.3 + palm - 0.7))
    assert pose_square(in_units(points), WIDE, lost=False) == pytest.approx(without)


@pytest.mark.parametrize("side", [LEFT, RIGHT])
def test_a_drawing_keeps_the_hand_where_it_is_seen_and_shows_it_in_those_frames_alone(side: int) -> None:
    points = signer(hand=(1.1 if side == LEFT else 0.6, 0.6), side=side)
    points.hands[side, 5:] = np.nan
    frames = draw_signer(in_units(points), Square(0.4, 0.0, 1.0), 64)
    coloured = (np.ptp(frames.astype(int), axis=3) > 100).any(axis=1)  # (F, 64): columns with a finger's colour
    assert frames.shape == (9, 64, 64, 3) and frames.dtype == np.uint8 and len(FINGERS) == 5
    columns = np.flatnonzero(coloured[:5].all(axis=0))
    assert len(columns) and (columns.min() >= 40 if side == LEFT else columns.max() < 24)
    assert not coloured[5:].any()
