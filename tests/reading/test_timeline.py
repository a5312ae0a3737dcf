"""utils/reading/timeline.py: frames by time, in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from utils.reading.timeline import even_moments, spaced_moments, timeline_of
from utils.video import VideoError, frame_indices


@pytest.mark.parametrize("num_source", [2, 5, 16, 31])
@pytest.mark.parametrize("num_frames", [1, 4, 16])
def test_a_constant_rate_takes_the_frames_that_indices_would(num_source: int, num_frames: int) -> None:
    timeline = timeline_of([i / 25 for i in range(num_source)], 1 / 25)
    taken = timeline.shown_at(even_moments(0.0, timeline.end, num_frames))
    assert taken.tolist() == frame_indices(num_source, num_frames).tolist()


def test_a_frame_that_is_shown_longer_is_taken_more_often() -> None:
    timeline = timeline_of([0.0, 0.1, 0.9], 0.1)  # the second one stands for 0.8 of 1 s
    assert timeline.shown_at(even_moments(0.0, 1.0, 10)).tolist() == [0, *[1] * 8, 2]


def test_times_that_begin_late_are_counted_from_the_first_frame() -> None:
    timeline = timeline_of([5.0, 5.5, 6.0, 6.5], 0.5)
    assert timeline.window(0.5, 1.5) == (5.5, 6.5)
    assert timeline.shown_at(even_moments(*timeline.window(0.5, 1.5), 2)).tolist() == [1, 2]


def test_a_window_is_cut_at_the_clip_s_end_and_an_empty_one_is_refused() -> None:
    timeline = timeline_of([0.0, 1.0], 1.0)
    assert timeline.window(1.5, 9.0) == (1.5, 2.0)
    with pytest.raises(VideoError, match="3 s to 4 s holds nothing of a clip of 2.00 s"):
        timeline.window(3.0, 4.0)


def test_a_rate_spaces_the_moments_and_a_place_moves_the_window() -> None:
    for place, first in ((0.0, 0.0), (0.5, 3.0), (1.0, 6.0)):
        moments = spaced_moments(0.0, 10.0, 8, rate=2.0, place=place)
        assert np.allclose(moments, first + 0.25 + 0.5 * np.arange(8))


def test_a_clip_shorter_than_the_window_holds_its_last_frame() -> None:
    timeline = timeline_of([0.0, 0.5], 0.5)
    assert timeline.shown_at(spaced_moments(0.0, timeline.end, 6, rate=4.0)).tolist() == [0, 0, 1, 1, 1, 1]


def test_order_and_doubles_of_packets_do_not_matter_and_no_frame_is_an_error() -> None:
    assert timeline_of([0.2, 0.0, 0.1, 0.1], None).starts.tolist() == [0.0, 0.1, 0.2]
    assert timeline_of([0.2, 0.0, 0.1], None).end == pytest.approx(0.3)
    with pytest.raises(VideoError, match="no frame"):
        timeline_of([], None)
