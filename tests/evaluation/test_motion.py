"""methods/evaluation/motion.py: closed forms of its figures, in the order that they must have."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from methods.evaluation.motion import (
    MOVES,
    amplitude,
    blurred,
    measure_motion,
    motion_explained,
    moving_psnr,
    still_part,
    temporal_consistency,
)

RED = (230, 40, 40)


def over_time(levels: np.ndarray, *, side: int = 4) -> np.ndarray:
    """(F,) grey levels -> (F, side, side, 3) uint8, every pixel alike."""
    return np.round(levels)[:, None, None, None].repeat(side, 1).repeat(side, 2).repeat(3, 3).astype(np.uint8)


def hand(left: int, *, num_frames: int = 6, side: int = 20, speed: int = 1) -> np.ndarray:
    """(F, side, side, 3) uint8: a red square of 6 px on white that starts at ``left`` and moves to the right."""
    frames = np.full((num_frames, side, side, 3), 255, dtype=np.uint8)
    for index, frame in enumerate(frames):
        frame[7:13, left + speed * index : left + speed * index + 6] = RED
    return frames


def noise(*, num_frames: int = 200) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num_frames, 8, 8, 3), dtype=np.uint8)


def frozen(clip: np.ndarray) -> np.ndarray:
    return np.broadcast_to(still_part(clip), clip.shape)


def test_a_sinusoid_has_its_amplitude_over_the_root_of_two_and_a_frozen_clip_none():
    phase = 2 * np.pi * np.arange(64) / 16
    assert amplitude([over_time(128 + 100 * np.sin(phase))]) == pytest.approx(100 / math.sqrt(2), rel=2e-3)
    assert amplitude([frozen(noise(num_frames=9))]) == 0.0


def test_the_amplitude_is_a_root_mean_square_over_pixels_and_over_clips():
    blinking = over_time(np.array([0.0, 200.0] * 4))
    half = blinking.copy()
    half[:, :2] = 50
    assert amplitude([blinking]) == pytest.approx(100.0)
    assert amplitude([half]) == amplitude([blinking, frozen(blinking)]) == pytest.approx(100 / math.sqrt(2))


def test_the_still_part_is_what_a_passing_hand_does_not_change():
    assert (still_part(hand(2, speed=3, num_frames=4))[:, :2] == 255).all()
    assert still_part(over_time(np.array([1.0, 1.0, 9.0]))).tolist() == np.full((4, 4, 3), 1.0).tolist()


def test_moving_psnr_counts_the_moving_pixels_alone():
    real = over_time(np.array([100.0] * 4 + [100.0 + MOVES + 1]))  # the last frame moves, the others do not
    off = real.astype(int)
    off[:4] += 50  # where nothing moves
    assert moving_psnr(off.astype(np.uint8), real) == pytest.approx(10 * math.log10(255**2 / 1e-2))
    off[4] += 10
    assert moving_psnr(off.astype(np.uint8), real) == pytest.approx(10 * math.log10(255**2 / 100))
    assert moving_psnr(frozen(real), real) == pytest.approx(10 * math.log10(255**2 / (MOVES + 1) ** 2))


def test_what_moves_by_no_more_than_the_limit_does_not_count():
    assert moving_psnr(noise(num_frames=5)[:, :4, :4], over_time(np.array([100.0] * 4 + [100.0 + MOVES]))) is None


def test_motion_explained_is_one_for_the_real_clip_none_for_its_still_part_and_less_for_its_inverse():
    real = hand(1, speed=2)
    assert motion_explained(real, real) == 1.0 and motion_explained(frozen(real), real) == 0.0
    inverse = 2 * still_part(real) - real
    assert motion_explained(inverse, real) == pytest.approx(-3.0)  # twice as far away, so four times the error
    halfway = (still_part(real) + real) / 2
    assert motion_explained(halfway, real) == pytest.approx(0.75)
    assert motion_explained(real, frozen(real).astype(np.uint8)) is None


@pytest.mark.parametrize("figure", [moving_psnr, motion_explained])
def test_each_figure_falls_from_real_over_light_and_heavy_blur_to_frozen_and_noise(figure: Callable):
    real = hand(1, speed=2)
    shaken = noise(num_frames=6).repeat(3, axis=1).repeat(3, axis=2)[:, :20, :20]
    values = [figure(clip, real) for clip in (real, blurred(real), blurred(blurred(real)), frozen(real), shaken)]
    assert values == sorted(values, reverse=True) and len(set(values)) == 5


def test_real_clips_measured_against_themselves_are_as_lively_as_real_ones():
    clips, captions = [hand(1), hand(5, speed=0), hand(8)], ["a", "b", "a"]
    found = measure_motion(clips, captions, clips, captions)
    assert found["amplitude_ratio"] == found["explained"] == found["explained_worst"] == 1.0
    assert found["moving_psnr"] > found["moving_psnr_blurred"] > found["moving_psnr_frozen"]
    assert 0 < found["explained_blurred"] < 1


def test_a_clip_is_compared_with_the_nearest_real_clip_of_its_own_caption():
    real, captions = [hand(1), hand(6), hand(8)], ["a", "a", "b"]
    assert measure_motion([hand(6)], ["a"], real, captions)["explained"] == 1.0
    assert measure_motion([hand(8)], ["a"], real, captions)["explained"] < 1.0


def test_the_worst_clip_is_told_beside_the_mean():
    clips = [hand(1), hand(6)]
    found = measure_motion([clips[0], frozen(clips[1]).astype(np.uint8)], ["a", "b"], clips, ["a", "b"])
    assert found["explained"] == pytest.approx(0.5, abs=1e-4) and found["explained_worst"] == pytest.approx(0, abs=1e-4)


def test_still_real_clips_give_no_figure_and_the_report_stays_json():
    still = over_time(np.full(5, 90.0))
    found = measure_motion([still], ["a"], [still], ["a"])
    assert found["amplitude_ratio"] is found["moving_psnr"] is found["explained"] is found["explained_worst"] is None
    assert json.loads(json.dumps(found, allow_nan=False))["amplitude_real"] == 0.0


def test_real_clips_of_captions_that_nobody_asked_for_do_not_count():
    lively = noise(num_frames=6)[:, :4, :4].repeat(5, axis=1).repeat(5, axis=2)
    found = measure_motion([hand(1)], ["a"], [hand(1), lively], ["a", "b"])
    assert found["amplitude_real"] == amplitude([hand(1)]) and found["amplitude_ratio"] == 1.0


def test_a_caption_without_a_real_clip_is_named():
    with pytest.raises(ValueError, match="'b'"):
        measure_motion([hand(1), hand(2)], ["a", "b"], [hand(1)], ["a"])


def test_frames_that_stand_still_are_consistent_and_flicker_is_not() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    still, flicker = np.stack([frame] * 4), np.stack([frame, 255 - frame] * 2)
    assert temporal_consistency(still) == pytest.approx(1.0) and temporal_consistency(flicker) < 0
    assert temporal_consistency(still[:1]) is None


def test_real_clips_are_held_against_the_nearest_other_one_of_their_caption() -> None:
    dark, darker, other = (np.full((2, 8, 8, 3), level, dtype=np.uint8) for level in (100, 90, 200))
    found = measure_motion([dark], ["a"], [dark, darker, other], ["a", "a", "b"])
    assert (found["num_pairs"], found["num_real_again"]) == (1, 2)
    assert found["psnr_real_again"] == pytest.approx(10 * math.log10(255**2 / 100))
