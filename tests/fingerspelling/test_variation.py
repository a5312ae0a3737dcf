"""utils/fingerspelling/variation.py: what a copy changes, and what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest

from utils.fingerspelling import lexicon as fs
from utils.fingerspelling.drawing import Points, crop_square
from utils.fingerspelling.variation import (
    MAX_CUT,
    MAX_FINGER,
    MAX_ROLL,
    MAX_SHIFT,
    MAX_TURN,
    MAX_ZOOM,
    PIVOT,
    Variation,
    draw_variation,
    rotate,
    rotation_matrix,
    scale_fingers,
    vary,
    vary_square,
)
from utils.split import group_of, split_indices

BONES = [(1 + 4 * finger + bone, 2 + 4 * finger + bone) for finger in range(5) for bone in range(3)]


@pytest.fixture(scope="module")
def letters() -> dict[str, Points]:
    folder = fs.lexicon_folder()
    rows = [entry for entry in fs.read_index(folder) if entry.language == "ase"]
    return {entry.letter: fs.trimmed(fs.read_points(folder / entry.source)) for entry in rows}


def random_hands(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(250.0, 40.0, (2, 5, 21, 3))


def distances(points: np.ndarray) -> np.ndarray:
    """(..., N, 3) -> (..., N, N)."""
    return np.linalg.norm(points[..., :, None, :] - points[..., None, :, :], axis=-1)


def test_a_plain_variation_changes_no_bit(letters: dict[str, Points]):
    for letter in "AJ":
        varied = vary(letters[letter], Variation())
        for name in ("body", "face", "hands"):
            np.testing.assert_array_equal(getattr(varied, name), getattr(letters[letter], name))
    assert vary_square((3.7, -1.2, 151.3), Variation()) == (3.7, -1.2, 151.3)
    assert draw_variation(42, "ase_A", 0) == Variation()


def test_a_rotation_keeps_distances_and_its_inverse_brings_everything_back():
    hands, turn = random_hands(), rotation_matrix(11.0, -7.0, 5.0)
    turned = rotate(hands, turn)
    np.testing.assert_allclose(distances(turned), distances(hands), atol=1e-9)
    np.testing.assert_allclose(rotate(turned, turn.T), hands, atol=1e-9)
    assert np.abs(turned - hands).max() > 5


@pytest.mark.parametrize(
    ("turn", "start", "end"),
    [
        ((90.0, 0.0, 0.0), (0, 0, 1), (1, 0, 0)),  # yaw: what lay behind comes out on the right
        ((0.0, 90.0, 0.0), (0, 1, 0), (0, 0, 1)),  # pitch: what lay below goes behind
        ((0.0, 0.0, 90.0), (1, 0, 0), (0, 1, 0)),  # roll: what lay right goes down, clockwise
    ],
)
def test_quarter_turns_go_where_the_names_say(turn, start, end):
    np.testing.assert_allclose(rotation_matrix(*turn) @ start, end, atol=1e-12)
    found = rotate(PIVOT + np.array(start), rotation_matrix(*turn))
    np.testing.assert_allclose(found, PIVOT + np.array(end), atol=1e-12)


def test_turning_the_camera_narrows_the_shoulders_by_the_cosine(letters: dict[str, Points]):
    points = letters["B"]
    varied = vary(points, Variation(turn=(60.0, 0.0, 0.0)))
    widths = [np.ptp(p.body[:, :2, 0], axis=1) for p in (varied, points)]
    np.testing.assert_allclose(widths[0], 0.5 * widths[1])
    np.testing.assert_allclose(varied.body[..., 1], points.body[..., 1])


def test_finger_factors_scale_their_bones_exactly_and_leave_all_else_alone():
    hands, factors = random_hands(), (1.0, 1.05, 0.5, 1.0, 2.0)
    scaled = scale_fingers(hands, factors)
    before, after = ([part[..., b, :] - part[..., a, :] for a, b in BONES] for part in (hands, scaled))
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        np.testing.assert_allclose(new, factors[index // 3] * old, atol=1e-9)
    kept = [0, 1, 5, 9, 13, 17, *range(2, 5), *range(14, 17)]  # the palm's ring, thumb and ring finger
    np.testing.assert_array_equal(scaled[..., kept, :], hands[..., kept, :])


def test_the_square_grows_around_its_centre_and_moves_by_its_share():
    assert vary_square((10.0, 20.0, 100.0), Variation(zoom=1.5)) == (-15.0, -5.0, 150.0)
    assert vary_square((10.0, 20.0, 100.0), Variation(shift=(0.02, -0.03))) == (12.0, 17.0, 100.0)


def test_a_copy_is_a_function_of_seed_name_and_number():
    first = draw_variation(42, "ase_A", 1)
    assert first == draw_variation(42, "ase_A", 1)
    others = [draw_variation(42, "ase_A", 2), draw_variation(42, "ase_B", 1), draw_variation(43, "ase_A", 1)]
    assert len({first, *others}) == 4


def test_copies_fill_the_limits_and_keep_to_them():
    drawn = [draw_variation(0, "x", copy) for copy in range(1, 401)]
    values = [[*v.turn, *(f - 1 for f in v.fingers), 2 * v.zoom - 2 - MAX_ZOOM, *v.shift, *v.cut] for v in drawn]
    limits = [MAX_TURN, MAX_TURN, MAX_ROLL, *[MAX_FINGER] * 5, MAX_ZOOM, *[MAX_SHIFT] * 2, *[MAX_CUT] * 2]
    shares = np.array(values) / limits  # each uniform in [-1, 1]
    assert np.abs(shares).max() <= 1 + 1e-9 and (np.abs(shares).max(axis=0) > 0.95).all()
    np.testing.assert_allclose(shares.mean(axis=0), 0.0, atol=5 / np.sqrt(3 * 400))


def test_hands_stay_in_the_picture_of_every_copy(letters: dict[str, Points]):
    for letter, points in letters.items():
        for copy in range(1, 9):
            variation = draw_variation(0, letter, copy)
            varied = vary(points, variation)
            x0, y0, side = vary_square(crop_square(varied), variation)
            ends = len(points.body) // 8
            inner = varied.hands[:, ends : len(points.body) - ends, :, :2]
            inner = inner[np.isfinite(inner)].reshape(-1, 2)
            if side < 380:
                assert (inner >= (x0, y0)).all() and (inner <= (x0 + side, y0 + side)).all(), (letter, copy)


def test_more_is_cut_where_a_copy_says_so(letters: dict[str, Points]):
    folder = fs.lexicon_folder()
    whole = fs.read_points(folder / next(e for e in fs.read_index(folder) if e.name == "ase_P").source)  # 33 frames
    lengths = [len(fs.trimmed(whole, cut).body) for cut in ((0.0, 0.0), (0.04, 0.0), (0.04, -0.04))]
    assert lengths == [33 - 4 - 4, 33 - 5 - 4, 33 - 5 - 3]


def test_a_copy_stays_with_its_letter_in_the_split():
    names = [f"ase/ase_{letter}{copy}" for letter in "ABCDEFGH" for copy in ("", "__1", "__2")]
    training, held_out = split_indices([group_of(name) for name in names], fraction=0.5, seed=0)
    assert len(held_out) == 12
    assert not {names[i][:9] for i in training} & {names[i][:9] for i in held_out}
