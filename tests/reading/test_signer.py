"""utils/reading/signer.py: where and when, in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from utils.reading.signer import KEPT, MARGIN, Square, around, away_from_rest, signing_square, signing_time


def mover(*, left: int, top: int, side: int = 10, height: int = 60, width: int = 80, still: int = 0) -> np.ndarray:
    """(F, height, width, 3) uint8: a white square goes 10 px to the right, between ``still`` frames without it."""
    frames = np.zeros((11 + 2 * still, height, width, 3), dtype=np.uint8)
    for step in range(11):
        frames[still + step, top : top + side, left + step : left + step + side] = 255
    return frames


def test_the_square_holds_all_that_moves_with_a_margin() -> None:
    found = signing_square(mover(left=30, top=20))
    left, top, side = (60 * value for value in found)
    assert side == pytest.approx(MARGIN * 20, abs=2.5)  # the path is 20 px wide, its ends are seldom covered
    assert left <= 31 and left + side >= 49 and top <= 20 and top + side >= 30


@pytest.mark.parametrize(("left", "top"), [(0, 0), (58, 48), (0, 48)])
def test_the_square_stays_inside_the_picture(left: int, top: int) -> None:
    found = signing_square(mover(left=left, top=top))
    assert min(found) >= 0 and 60 * (found.left + found.side) < 80.001 and 60 * (found.top + found.side) < 60.001


def test_where_nothing_moves_the_square_is_the_middle() -> None:
    assert signing_square(np.zeros((5, 60, 80, 3), dtype=np.uint8)) == Square(10 / 60, 0.0, 1.0)


def test_rest_at_both_ends_is_cut_to_a_breath() -> None:
    frames = mover(left=30, top=20, still=20)
    starts = np.arange(51) / 10
    assert signing_time(frames, starts, 5.1) == pytest.approx((2.0 - KEPT, 3.1 + KEPT))
    assert signing_time(frames[:1].repeat(5, axis=0), starts[:5], 0.5) == (0.0, 0.5)


def test_rest_is_what_looks_as_the_first_frame_does_and_a_held_sign_is_none() -> None:
    frames, starts = mover(left=30, top=20, still=20), np.arange(51) / 10
    start, end = away_from_rest(frames, starts, 5.1)
    returned = 2.0 <= start < end <= 3.1 + 1e-9
    held = np.concatenate([frames[:26], frames[25:26].repeat(25, axis=0)])
    assert returned and away_from_rest(held, starts, 5.1) == (start, 5.1)
    assert away_from_rest(frames[:1].repeat(5, axis=0), starts[:5], 0.5) == (0.0, 0.5)


def test_one_square_for_a_set_holds_every_clip_s() -> None:
    squares = [Square(0.1, 0.2, 0.3), Square(0.5, 0.3, 0.2), Square(0.2, 0.0, 0.3)]
    left, top, side = around(squares)
    assert all(left <= s.left and s.left + s.side <= left + side + 1e-9 for s in squares)
    assert all(top <= s.top and s.top + s.side <= top + side + 1e-9 for s in squares)
    assert side == pytest.approx(0.6)


def test_a_set_that_reaches_farther_across_than_the_picture_is_high_shows_its_middle() -> None:
    assert around([Square(0.1, 0.4, 0.6), Square(0.5, 0.0, 1.0)]) == pytest.approx((0.3, 0.0, 1.0))
