"""methods/evaluation/motion.py: closed forms of its figures, and the control that must not pass."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from methods.evaluation.motion import amplitude, hand_region_error, hold_middle, jitter, measure_motion

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


@pytest.mark.parametrize("figure", [amplitude, jitter])
def test_a_frozen_clip_has_neither_amplitude_nor_jitter(figure: Callable):
    assert figure([hold_middle(noise(num_frames=9))]) == 0.0


def test_a_sinusoid_has_its_amplitude_over_the_root_of_two():
    phase = 2 * np.pi * np.arange(64) / 16
    assert amplitude([over_time(128 + 100 * np.sin(phase))]) == pytest.approx(100 / math.sqrt(2), rel=2e-3)


def test_the_amplitude_is_a_root_mean_square_over_pixels_and_over_clips():
    blinking = over_time(np.array([0.0, 200.0] * 4))
    half = blinking.copy()
    half[:, :2] = 50
    assert amplitude([blinking]) == pytest.approx(100.0)
    assert amplitude([half]) == amplitude([blinking, hold_middle(blinking)]) == pytest.approx(100 / math.sqrt(2))


def test_white_noise_has_a_jitter_of_the_root_of_three():
    assert jitter([noise()]) == pytest.approx(math.sqrt(3), rel=0.01)


def test_a_fade_at_constant_speed_has_no_jitter_and_blinking_has_two():
    assert jitter([over_time(10.0 * np.arange(20))]) == 0.0
    assert jitter([over_time(np.array([0.0, 200.0] * 4))]) == pytest.approx(2.0)


def test_a_clip_too_short_for_a_second_difference_has_no_jitter():
    assert jitter([noise(num_frames=2)]) == 0.0


def test_playing_a_clip_backwards_changes_no_figure():
    clip = noise(num_frames=12)
    for figure in (amplitude, jitter):
        assert figure([clip[::-1]]) == pytest.approx(figure([clip]))


def test_the_error_of_the_hand_leaves_out_the_background_that_every_clip_gets_right():
    real = hand(2, num_frames=1)
    blank = np.full_like(real, 255)
    lost = np.mean((255.0 - np.array(RED)) ** 2)
    assert hand_region_error(real, real) == 0.0
    assert hand_region_error(blank, real) == pytest.approx(math.sqrt(lost * 36 / 64))  # 6 x 6 px of 8 x 8
    assert hand_region_error(hand(11, num_frames=1), real) == pytest.approx(math.sqrt(lost * 36 / 64))  # 72 of 128


def test_a_hand_at_the_edge_of_the_picture_has_no_pixels_outside():
    real = hand(0, num_frames=1)
    lost = np.mean((255.0 - np.array(RED)) ** 2)
    assert hand_region_error(np.full_like(real, 255), real) == pytest.approx(math.sqrt(lost * 36 / 56))  # 7 x 8


def test_without_a_hand_in_the_real_clip_there_is_no_error_of_it():
    assert hand_region_error(hand(2), np.full_like(hand(2), 255)) is None


def test_real_clips_measured_against_themselves_are_as_lively_as_real_ones():
    clips, captions = [hand(1), hand(5, speed=0), hand(8)], ["a", "b", "a"]
    found = measure_motion(clips, captions, clips, captions)
    assert found.amplitude_ratio == found.jitter_ratio == 1.0
    assert found.amplitude_real == amplitude(clips) and found.jitter_real == jitter(clips)
    assert found.hand_region_error == 0.0 and found.num_hands == 3


def test_the_control_of_held_frames_does_not_move_and_misses_the_hand():
    clips = [hand(1), hand(6)]
    frozen = measure_motion(clips, ["a", "b"], clips, ["a", "b"]).frozen
    assert frozen.amplitude == frozen.amplitude_ratio == frozen.jitter == frozen.jitter_ratio == 0.0
    assert frozen.hand_region_error > 10


def test_a_clip_is_compared_with_the_nearest_real_clip_of_its_own_caption():
    real, captions = [hand(1), hand(6), hand(8)], ["a", "a", "b"]
    assert measure_motion([hand(6)], ["a"], real, captions).hand_region_error == 0.0
    assert measure_motion([hand(8)], ["a"], real, captions).hand_region_error > 10


def test_real_clips_of_captions_that_nobody_asked_for_do_not_count():
    lively = noise(num_frames=6)[:, :4, :4].repeat(5, axis=1).repeat(5, axis=2)
    found = measure_motion([hand(1)], ["a"], [hand(1), lively], ["a", "b"])
    assert found.amplitude_real == amplitude([hand(1)]) and found.amplitude_ratio == 1.0


def test_still_real_clips_give_no_ratio_and_the_report_stays_json():
    still = over_time(np.full(5, 90.0))
    found = measure_motion([still], ["a"], [still], ["a"])
    assert found.amplitude_ratio is found.jitter_ratio is found.hand_region_error is None and found.num_hands == 0
    written = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert written["frozen"]["amplitude"] == 0.0 and written["hand_region_error"] is None


def test_a_caption_without_a_real_clip_is_named():
    with pytest.raises(ValueError, match="'b'"):
        measure_motion([hand(1), hand(2)], ["a", "b"], [hand(1)], ["a"])
