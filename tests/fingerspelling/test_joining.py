"""utils/fingerspelling/joining.py: when a letter is held, how the hand moves, and that it moves smoothly."""

from __future__ import annotations

import numpy as np
import pytest

from utils.captions import HOLD, letter_spans, letter_times
from utils.fingerspelling import lexicon as fs
from utils.fingerspelling.drawing import Points, mirror
from utils.fingerspelling.joining import (
    MOVES,
    PALM,
    SHOULDERS,
    SLIDE,
    Hold,
    align_body,
    blend_hands,
    hold_of,
    minimum_jerk,
    place_holds,
    points_at,
    slides,
    word_points,
)
from utils.fingerspelling.variation import Variation, rotation_matrix, vary

PARTS = ("body", "face", "hands")


@pytest.fixture(scope="module")
def holds() -> dict[str, Hold]:
    folder = fs.lexicon_folder()
    rows = [entry for entry in fs.read_index(folder) if entry.language == "ase"]
    return {entry.letter: hold_of(fs.trimmed(fs.read_points(folder / entry.source))) for entry in rows}


def path(holds: dict[str, Hold], word: str, times: np.ndarray) -> Points:
    return word_points(place_holds(word, holds), times)


def middle_of(hold: Hold) -> Points:
    return points_at(hold.points, np.array([(hold.start + hold.end) / 2]))


def same(a: Points, b: Points, *, atol: float = 1e-9) -> None:
    for name in PARTS:
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=atol)


# ---- When ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["CAB", "JAZ", "ZOO", "HELLO"])
def test_the_middle_frame_of_a_span_is_the_letters_own_middle_pose(holds: dict[str, Hold], word: str):
    num_frames = 5 * len(word)  # odd for each, so that a frame falls on the middle
    points = path(holds, word, letter_times(num_frames, len(word)))
    for letter, hold, span in zip(word, place_holds(word, holds), letter_spans(len(word), num_frames), strict=True):
        middle = (span.start + span.stop - 1) // 2
        frame = points.at(np.array([middle]))
        same(frame, middle_of(hold))
        own = middle_of(holds[letter]).hands[1, 0]
        np.testing.assert_allclose(frame.hands[1, 0] - frame.hands[1, 0, 0], own - own[0], atol=1e-9)


def test_frames_of_a_hold_show_their_letter_and_nothing_of_its_neighbours(holds: dict[str, Hold]):
    """The shape of the hand in any frame of a span is nearer to its own letter's than to the other letters'."""

    def shape(hand: np.ndarray) -> np.ndarray:
        return (hand - hand[0])[:, :2]

    for word in ("CAB", "LUV", "WIFE"):
        points = path(holds, word, letter_times(16, len(word)))
        middles = [shape(middle_of(holds[c]).hands[1, 0]) for c in word]
        for letter, span in enumerate(letter_spans(len(word), 16)):
            for hand in points.hands[1, span]:
                assert np.argmin([np.abs(shape(hand) - middle).mean() for middle in middles]) == letter


# ---- How -------------------------------------------------------------------------------------------------------------


def test_minimum_jerk_begins_and_ends_at_rest_without_acceleration():
    x = np.array([-1.0, 0.0, 0.5, 1.0, 2.0])
    np.testing.assert_array_equal(minimum_jerk(x), [0.0, 0.0, 0.5, 1.0, 1.0])
    x, h = np.linspace(0, 1, 101), 1e-4
    velocity = (minimum_jerk(x + h) - minimum_jerk(x - h)) / (2 * h)
    np.testing.assert_allclose(velocity, 30 * x**2 * (1 - x) ** 2, atol=1e-6)
    np.testing.assert_allclose(minimum_jerk(x) + minimum_jerk(1 - x), 1.0)
    acceleration = (minimum_jerk(h + h) - 2 * minimum_jerk(np.array([h])) + minimum_jerk(np.zeros(1))) / h**2
    assert abs(acceleration[0]) < 0.01


def test_clips_are_read_between_their_frames_smoothly_and_on_them_exactly(holds: dict[str, Hold]):
    points = holds["J"].points
    frames = np.arange(len(points.body), dtype=float)
    same(points_at(points, frames), points)
    inner, h = frames[1:-1], 1e-6
    before, on, after = (points_at(points, inner + step).hands[1] for step in (-h, 0.0, h))
    np.testing.assert_allclose(after - on, on - before, atol=1e-8)  # one velocity from either side
    line = Points(*(np.zeros((8, 2, 2)) + frames[:8, None, None] for _ in range(2)), np.zeros((2, 8, 21, 3)))
    np.testing.assert_allclose(points_at(line, np.linspace(1, 6, 11)).body[:, 0, 0], np.linspace(1, 6, 11))


@pytest.mark.parametrize("word", ["CAB", "KPD", "HELLO", "JAZZ", "QUIZ"])
def test_a_words_path_has_no_jump_and_no_sudden_change_of_velocity(holds: dict[str, Hold], word: str):
    """Halving the time step halves the largest step (no jump), and quarters the largest bend (velocity continuous).

    A jump would keep its size, a kink would only halve.
    """

    def steps(per_letter: int) -> tuple[float, float]:
        points = path(holds, word, np.linspace(0, len(word), per_letter * len(word) + 1))
        largest = [np.abs(np.diff(p, n=n, axis=0)).max() for n in (1, 2) for p in (points.hands[1], points.body)]
        return max(largest[:2]), max(largest[2:])

    (step, bend), (half_step, half_bend) = steps(480), steps(960)
    assert half_step < 0.55 * step and half_bend < 0.35 * bend


def test_hands_rest_where_holds_and_ways_meet(holds: dict[str, Hold]):
    h = 1e-4
    for meeting in (HOLD / 2 + 0.5, 1.5 - HOLD / 2, 1.5 + HOLD / 2):
        points = path(holds, "JAZ", np.array([meeting - h, meeting, meeting + h]))
        assert np.abs(np.diff(points.hands[1], axis=0)).max() / h < 1e-3  # units a letter's time


@pytest.mark.parametrize("word", ["CAB", "KPD", "LLU"])
def test_the_fastest_step_of_a_way_is_at_most_twice_its_mean_one(holds: dict[str, Hold], word: str):
    """The peak speed of a minimum-jerk course is 15 / 8 of the mean one; turning hands add a little."""
    for border in (1.0, 2.0):
        way = path(holds, word, np.linspace(border - (1 - HOLD) / 2, border + (1 - HOLD) / 2, 101)).hands[1]
        steps = np.linalg.norm(np.diff(way, axis=0), axis=-1).mean(axis=1)
        assert 1.6 < steps.max() / steps.mean() < 2.1


def test_a_hand_turns_over_without_folding_or_changing_its_size():
    rng = np.random.default_rng(0)
    start = rng.normal(0.0, 30.0, (21, 3))
    for degrees in (10.0, 120.0, 179.9, 180.0):
        turn = rotation_matrix(0.0, 0.0, degrees)
        end = start @ turn.T + (100.0, 20.0, 5.0)
        way = blend_hands(start, end, np.array([0.0, 0.5, 1.0]))
        np.testing.assert_allclose(way[0], start, atol=1e-7)
        np.testing.assert_allclose(way[2], end, atol=1e-7)
        sizes = [np.linalg.norm(hand[:, None] - hand[None], axis=-1) for hand in (way[1], start)]
        np.testing.assert_allclose(sizes[0], sizes[1], atol=1e-6)
        centre = (start[list(PALM)].mean(axis=0) + end[list(PALM)].mean(axis=0)) / 2
        np.testing.assert_allclose(way[1][list(PALM)].mean(axis=0), centre, atol=1e-7)
    quarter = blend_hands(start, start @ rotation_matrix(0.0, 0.0, 90.0).T, np.array([1 / 3]))[0]
    middle = start[list(PALM)].mean(axis=0)
    expected = (start - middle) @ rotation_matrix(0.0, 0.0, 30.0).T
    np.testing.assert_allclose(quarter - quarter[list(PALM)].mean(axis=0), expected, atol=1e-7)


def test_a_hand_that_only_one_letter_shows_is_not_seen_on_the_way():
    seen, unseen = np.ones((21, 3)), np.full((21, 3), np.nan)
    for pair in ((seen, unseen), (unseen, seen)):
        assert np.isnan(blend_hands(*pair, np.array([0.2, 0.9]))).all()


# ---- Where -----------------------------------------------------------------------------------------------------------


def test_signers_that_stand_elsewhere_or_nearer_are_brought_to_one_place(holds: dict[str, Hold]):
    points = holds["A"].points
    moved = Points(1.2 * points.body + (30, -9), 1.2 * points.face + (30, -9), 1.2 * points.hands + (30, -9, 0))
    same(align_body(moved), points)
    np.testing.assert_allclose(np.median(points.body[:, :2].mean(axis=1), axis=0), SHOULDERS)
    same(align_body(mirror(points)), mirror(points))
    headless = Points(np.full_like(points.body, np.nan), points.face, points.hands)
    same(align_body(headless), headless)


def test_still_letters_hold_their_middle_and_moving_ones_their_way(holds: dict[str, Hold]):
    for letter, hold in holds.items():
        length = len(hold.points.body) - 1
        held = points_at(hold.points, np.linspace(hold.start, hold.end, 50)).hands[1, ..., :2]
        way = np.linalg.norm(np.diff(held, axis=0), axis=-1).mean(axis=1).sum()
        assert 0 <= hold.start < hold.end <= length
        assert (way > MOVES) == (letter in "JZ"), letter
        if letter not in "JZ":
            assert (hold.start + hold.end) / 2 == pytest.approx(length / 2) and way < 15


def test_the_palm_stays_in_one_place_while_letters_change(holds: dict[str, Hold]):
    word = "QUADS"
    points = path(holds, word, np.arange(len(word)) + 0.5)
    palms = points.hands[1][:, list(PALM), :2].mean(axis=1)
    assert np.ptp(palms, axis=0).max() < 3


def test_a_double_letter_is_held_again_further_to_the_signers_right(holds: dict[str, Hold]):
    assert slides("HELLO") == [0, 0, -SLIDE / 2, SLIDE / 2, 0]
    assert slides("AAAB") == [-SLIDE, 0, SLIDE, 0]
    once, twice = path(holds, "LO", np.array([0.5])), path(holds, "LLO", np.array([0.5, 1.5]))
    first, second = twice.hands[1]
    np.testing.assert_allclose(second - first, np.broadcast_to((-SLIDE, 0, 0), (21, 3)), atol=1e-9)
    np.testing.assert_allclose(first - first[0], (once.hands[1, 0] - once.hands[1, 0, 0]), atol=1e-9)


def test_a_words_copy_is_turned_as_a_whole_and_hands_keep_their_size(holds: dict[str, Hold]):
    points = path(holds, "CAB", letter_times(15, 3))
    turned = vary(points, Variation(turn=(10.0, 5.0, 5.0)))
    sizes = [np.linalg.norm(p.hands[1][:, :, None] - p.hands[1][:, None], axis=-1) for p in (points, turned)]
    np.testing.assert_allclose(sizes[0], sizes[1], atol=1e-8)
