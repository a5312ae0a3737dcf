"""utils/sentences/compose.py: every frame of a sentence is a sign's own, or lies between two."""

from __future__ import annotations

import numpy as np

from utils.sentences.compose import Sign, blend, compose


def levels(*values: int) -> np.ndarray:
    """Frames (F, 2, 2, 3) uint8 of one grey each."""
    return np.stack([np.full((2, 2, 3), value, np.uint8) for value in values])


def test_rest_is_cut_at_the_seams_alone_and_spans_hold_each_sign_s_own_frames() -> None:
    first, second = Sign(levels(0, 10, 20, 0), 1, 3), Sign(levels(0, 0, 120, 130, 0), 2, 4)
    frames, spans = compose([first, second], num_blended=1)
    assert frames[:, 0, 0, 0].tolist() == [0, 10, 20, 70, 120, 130, 0]
    assert spans == [slice(1, 3), slice(4, 6)]
    for sign, span in zip((first, second), spans, strict=True):
        np.testing.assert_array_equal(frames[span], sign.frames[sign.start : sign.end])


def test_a_blend_rises_from_rest_to_rest_and_is_even_about_its_middle() -> None:
    values = blend(*levels(0, 200), 9)[:, 0, 0, 0].astype(int)
    assert values[4] == 100 and (values + values[::-1] == 200).all() and (np.diff(values) > 0).all()
    assert np.diff(values)[0] < np.diff(values)[4] / 3


def test_without_frames_between_signs_follow_each_other() -> None:
    frames, spans = compose([Sign(levels(1, 2), 0, 2), Sign(levels(3, 4), 0, 2)], num_blended=0)
    assert frames[:, 0, 0, 0].tolist() == [1, 2, 3, 4] and spans == [slice(0, 2), slice(2, 4)]
