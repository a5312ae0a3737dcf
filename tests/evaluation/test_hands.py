"""methods/evaluation/likeness/hands.py: closed forms on made-up landmarks, which a finder reads off the clip itself."""

from __future__ import annotations

import numpy as np
import pytest

from methods.evaluation.likeness.hands import MISSED, agreement, measure_hands, order_of_hands, summary, warped
from methods.evaluation.likeness.order import ladders

SHAPE = np.random.default_rng(0).random((21, 2)) * 10
SHAPE = (SHAPE - SHAPE.min(0)) / np.ptp(SHAPE, axis=0).max() * 10  # a hand of 10 px


def hands(*places: float | None) -> np.ndarray:
    """(F, 2, 21, 2): one hand a frame, so many px to the right, or none."""
    points = np.full((len(places), 2, 21, 2), np.nan)
    for frame, place in zip(points, places, strict=True):
        if place is not None:
            frame[0] = SHAPE + (place, 0)
    return points


def compared(made: np.ndarray, real: np.ndarray) -> dict[str, float | None]:
    return summary([agreement(made, real)])


def test_a_clip_agrees_with_itself() -> None:
    clip = hands(0, 4, None, 8)
    assert compared(clip, clip) == {"num_frames": 3, "found": 1.0, "pck": 1.0, "distance": 0.0, "ndtw": 0.0}


@pytest.mark.parametrize(("shift", "pck"), [(1.9, 1.0), (2.1, 0.0)])
def test_a_shifted_hand_is_so_many_hand_sizes_away_and_right_within_a_fifth(shift: float, pck: float) -> None:
    found = compared(hands(shift, 20 + shift), hands(0, 20))
    assert found["pck"] == pck and found["distance"] == pytest.approx(shift / 10) == found["ndtw"]


def test_a_missed_hand_is_not_found_counts_as_none_within_and_has_no_distance() -> None:
    found = compared(hands(0, None, 2, None), hands(0, 1, 2, 3))
    assert found["found"] == found["pck"] == 0.5 and found["distance"] == 0.0
    assert compared(hands(None, None), hands(0, 1)) == {
        "num_frames": 2, "found": 0.0, "pck": 0.0, "distance": None, "ndtw": MISSED
    }  # fmt: skip


def test_a_real_clip_without_hands_says_nothing() -> None:
    assert agreement(hands(0, 1), hands(None, None)) is None
    assert compared(hands(0, 1), hands(None, None))["found"] is None


def test_warping_forgives_a_clip_that_is_late_and_no_other_hand() -> None:
    real, late = hands(0, 0, 10, 20, 30, 40), hands(0, 0, 0, 10, 20, 30)
    found = compared(late, real)
    assert found["distance"] == pytest.approx(4 / 6) and found["ndtw"] == pytest.approx(1 / 7)  # the last step alone
    assert compared(hands(*[60.0] * 6), real)["ndtw"] == MISSED


def test_the_best_path_is_that_of_all_paths() -> None:
    """Frames that lack a hand are missed, beyond the path."""
    costs = np.random.default_rng(2).random((4, 5))

    def paths(i: int, j: int, total: float, steps: int) -> list[tuple[float, int]]:
        total, steps = total + costs[i, j], steps + 1
        if (i, j) == (3, 4):
            return [(total, steps)]
        ways = [(i + a, j + b) for a, b in ((1, 0), (0, 1), (1, 1)) if i + a < 4 and j + b < 5]
        return [path for way in ways for path in paths(*way, total, steps)]

    total, steps = min(paths(0, 0, 0.0, 0))
    assert warped(costs) == pytest.approx(total / steps)
    assert warped(np.zeros((3, 1))) == pytest.approx(2 * MISSED / 5) and warped(np.zeros((3, 0))) == MISSED


def test_of_two_hands_each_is_compared_with_the_nearest_whichever_comes_first() -> None:
    real = hands(0, 0)
    real[:, 1] = SHAPE + (50, 0)
    assert compared(real[:, ::-1], real)["distance"] == 0.0
    assert compared(hands(0, 0), real) == {
        "num_frames": 2, "found": 1.0, "pck": 0.5, "distance": 2.5, "ndtw": MISSED / 2
    }  # fmt: skip


# ---- A whole measurement: a red square of 6 px is the hand -----------------------------------------------------------


def clip(left: int, *, colour: int = 255) -> np.ndarray:
    frames = np.zeros((5, 32, 32, 3), dtype=np.uint8)
    for index, frame in enumerate(frames):
        frame[10:16, left + 2 * index : left + 2 * index + 6, 0] = colour
    return frames


def find(frames: np.ndarray) -> np.ndarray:
    """The square's place, where it is nearly as red as it was drawn and nothing else is."""
    places = [np.argwhere(frame[..., 0] > 150) for frame in frames]
    return hands(*(float(at[:, 1].min()) if 0 < len(at) < 50 else None for at in places))


def test_every_step_is_told_beside_the_generated_clips_and_real_clips_are_searched_once() -> None:
    real, captions, searched = [clip(1), clip(2), clip(14)], ["a", "a", "b"], []

    def counted(frames: np.ndarray) -> np.ndarray:
        searched.append(frames.tobytes())
        return find(frames)

    steps = ladders(real, captions, seed=0)
    made = [clip(2), np.zeros_like(clip(0))]
    found = measure_hands(made, ["a", "b"], real, captions, ladders=steps, find=counted)
    assert found["generated"]["found"] == found["generated"]["pck"] == 0.5
    assert found["real"]["pck"] == 1.0 and found["noise"]["found"] == 0.0 and found["frozen"]["num_frames"] == 10
    assert found["real_again"]["num_frames"] == 5 and found["real_again"]["distance"] == pytest.approx(0.1)
    assert sum(frames == real[1].tobytes() for frames in searched) == 2  # as a real clip, and as what was generated
    assert set(order_of_hands(found)) == {"hands_found", "hands_pck", "hands_ndtw"}


def test_drawings_in_which_no_hand_is_found_are_not_measured() -> None:
    dark = [clip(1, colour=9), clip(5, colour=9)]
    assert measure_hands(dark, ["a", "b"], dark, ["a", "b"], ladders=[], find=find) is None
