"""utils/fingerspelling/drawing.py: which points are drawn, where, and how."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from utils.fingerspelling.drawing import (
    BACKGROUND,
    CROP,
    FINGERS,
    FRAME,
    Points,
    PoseError,
    clean,
    crop_square,
    draw_clip,
    mirror,
)


def flat_hand(*, num_frames: int = 8, at: tuple[float, float] = (120.0, 250.0)) -> np.ndarray:
    """(F, 21, 3): an open right hand seen from its palm, wrist at ``at``, five straight fingers, thumb to the right."""
    hand = np.zeros((21, 3))
    for finger in range(5):
        x = 28.0 - 14.0 * finger
        for bone in range(4):
            hand[1 + 4 * finger + bone] = (x, -30.0 - 22.0 * bone, -0.01 * bone)
    hand += (*at, 0.0)
    return np.repeat(hand[None], num_frames, axis=0)


def clip(*, num_frames: int = 8, left: np.ndarray | None = None, right: np.ndarray | None = None) -> Points:
    """A signer with shoulders 200 apart, a round face, and the given hands (None: not seen)."""
    unseen = np.full((num_frames, 21, 3), np.nan)
    body = np.array([(350, 250), (150, 250), (400, 400), (100, 400), (380, 500), (120, 250)], dtype=np.float64)
    angle = np.linspace(0, 2 * np.pi, 20)
    face = np.stack([250 + 50 * np.cos(angle), 120 + 65 * np.sin(angle)], axis=1)
    hands = np.stack([unseen if hand is None else hand for hand in (left, right)])
    return Points(np.repeat(body[None], num_frames, axis=0), np.repeat(face[None], num_frames, axis=0), hands)


def drawn(points: Points, image_size: int = 64) -> np.ndarray:
    cleaned = clean(points)
    return draw_clip(cleaned, image_size, square=crop_square(cleaned))


def num_pixels(frame: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(frame.astype(int) - colour).max(axis=-1) < 24).sum())


def test_mirroring_twice_changes_nothing():
    points = clip(left=flat_hand(at=(300.0, 200.0)), right=flat_hand())
    for name in ("body", "face", "hands"):
        np.testing.assert_allclose(getattr(mirror(mirror(points)), name), getattr(points, name), atol=1e-9)


def test_a_left_handed_signer_gives_the_clip_of_the_right_handed_mirror_image():
    right = clip(right=flat_hand())
    np.testing.assert_array_equal(drawn(mirror(right)), drawn(right))


def test_two_hands_are_both_drawn_and_nobody_is_mirrored():
    both = clip(right=flat_hand(at=(170.0, 250.0)), left=flat_hand(at=(290.0, 250.0)))
    x0, _, side = crop_square(clean(both))
    hands = both.hands[..., 0]
    assert x0 <= hands.min() and hands.max() <= x0 + side
    np.testing.assert_array_equal(clean(both).hands, both.hands)
    frame = drawn(both)[4]
    assert all(num_pixels(half, FINGERS[0]) > 10 for half in (frame[:, :32], frame[:, 32:]))


@pytest.mark.parametrize("image_size", [32, 64])
def test_every_finger_shows_in_its_own_colour(image_size: int):
    frames = drawn(clip(right=flat_hand()), image_size)
    assert frames.shape == (8, image_size, image_size, 3) and frames.dtype == np.uint8
    for colour in FINGERS:
        assert num_pixels(frames[0], colour) >= (image_size // 8) ** 2 // 2


def test_the_hand_lies_in_the_middle_and_fills_at_least_half_of_the_picture():
    frame = drawn(clip(right=flat_hand()))[0]
    coloured = (np.ptp(frame.astype(int), axis=-1) > 60).nonzero()
    for axis in coloured:
        assert abs((axis.min() + axis.max()) / 2 - 31.5) < 8
    assert np.ptp(coloured[0]) > 28


def test_wild_points_are_dropped_and_leave_the_picture_alone():
    hand = flat_hand(num_frames=9)
    calm = clip(num_frames=9, right=hand)
    wild = hand.copy()
    wild[4, 8] = (3751.0, -900.0, 0.0)  # one fingertip
    wild[6, :] = wild[6].mean(axis=0) + 3 * (wild[6] - wild[6].mean(axis=0))  # a hand three times as large
    np.testing.assert_array_equal(drawn(clip(num_frames=9, right=wild)), drawn(calm))
    face = calm.face.copy()
    face[:, 3] = (-4000.0, 100.0)
    body = calm.body.copy()
    body[:, 2] = (3000.0, 3000.0)  # an elbow
    cleaned = clean(replace(calm, face=face, body=body))
    assert np.isnan(cleaned.face[:, 3]).all() and np.isnan(cleaned.body[:, 2]).all()
    draw_clip(cleaned, 32, square=crop_square(cleaned))


def test_gaps_of_a_moving_hand_are_filled_linearly_and_held_at_the_ends():
    hand = flat_hand(num_frames=9)
    hand[..., 0] += 5.0 * np.arange(9)[:, None]
    holes = hand.copy()
    holes[[0, 3, 4, 8]] = np.nan
    filled = clean(clip(num_frames=9, right=holes)).hands[1]
    np.testing.assert_allclose(filled[1:8], hand[1:8], atol=1e-9)
    np.testing.assert_array_equal(filled[0], hand[1])
    np.testing.assert_array_equal(filled[8], hand[7])


def test_a_hand_that_most_frames_do_not_show_is_an_error_that_says_how_many_do():
    hand = flat_hand(num_frames=10)
    hand[:6] = np.nan
    with pytest.raises(PoseError, match="in 40% of the frames; wanted at least 50%"):
        clean(clip(num_frames=10, right=hand))
    with pytest.raises(PoseError, match="0%"):
        clean(clip())


def test_a_second_hand_that_is_hardly_seen_is_not_drawn():
    rare = flat_hand(at=(300.0, 250.0))
    rare[:6] = np.nan
    np.testing.assert_array_equal(drawn(clip(right=flat_hand(), left=rare)), drawn(clip(right=flat_hand())))


def test_a_moving_hand_stays_inside_the_square_and_a_still_one_is_drawn_at_the_closest_scale():
    assert crop_square(clean(clip(right=flat_hand())))[2] == CROP[0]
    hand = flat_hand(num_frames=16)
    hand[..., 0] += 8.0 * np.arange(16)[:, None]
    x0, y0, side = crop_square(clean(clip(num_frames=16, right=hand)))
    inner = hand[2:-2, :, :2]
    assert CROP[0] < side < CROP[1]
    assert (inner >= (x0, y0)).all() and (inner <= (x0 + side, y0 + side)).all()


def test_a_nearer_finger_covers_a_farther_one():
    hand = flat_hand()
    hand[:, 5:9, :2] = hand[:, 9:13, :2]  # the index finger lies exactly on the middle finger
    for index_depth, covered, shown in ((-0.2, FINGERS[2], FINGERS[1]), (0.2, FINGERS[1], FINGERS[2])):
        hand[:, 5:9, 2] = index_depth
        frame = drawn(clip(right=hand))[0]
        assert num_pixels(frame, covered) == 0 and num_pixels(frame, shown) > 20


def test_outside_the_signer_the_picture_is_plain():
    far = (0.0, FRAME, 40.0)
    points = clean(clip(right=flat_hand()))
    assert (draw_clip(points, 16, square=far) == BACKGROUND).all()
