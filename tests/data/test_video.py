"""utils/video.py: tensors, frames, which of them are taken, resizing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.data.pictures import noise
from utils import video as v

# ---- Tensors --------------------------------------------------------------------------------------------------------


def test_frames_of_one_clip_lie_side_by_side_and_unfold_again():
    clips = torch.arange(2 * 3 * 4 * 5 * 6, dtype=torch.float32).reshape(2, 3, 4, 5, 6)
    frames = v.frames_to_batch(clips)
    assert frames.shape == (8, 3, 5, 6)
    torch.testing.assert_close(frames[4 + 1], clips[1, :, 1], atol=0, rtol=0)
    torch.testing.assert_close(v.batch_to_frames(frames, 4), clips, atol=0, rtol=0)


def test_every_uint8_value_survives_the_way_to_a_tensor_and_back():
    frames = np.arange(256 * 3, dtype=np.uint32).astype(np.uint8).reshape(2, 8, 16, 3)
    tensor = v.batch_from_uint8([frames])[0]
    assert tensor.shape == (3, 2, 8, 16) and tensor.dtype == torch.float32
    assert tensor.min() == -1.0 and tensor.max() == 1.0
    np.testing.assert_array_equal(v.to_uint8(tensor), frames)


def test_values_outside_the_range_are_clamped_and_half_levels_rounded():
    video = torch.tensor([-3.0, 0.0, 3.0, 1.0 - 0.9 / 127.5]).reshape(1, 1, 1, 4).expand(3, 1, 1, 4)
    assert v.to_uint8(video)[0, 0, :, 0].tolist() == [0, 128, 255, 254]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_is_refused_and_counted(value):
    video = torch.zeros(3, 2, 4, 4)
    video[1, 0, 2, 3] = value
    with pytest.raises(v.VideoError, match="1 of 96 values"):
        v.to_uint8(video)


def test_wrong_shapes_are_refused_with_the_shape_that_was_wanted():
    with pytest.raises(v.VideoError, match=r"wanted \(3, F, H, W\)"):
        v.to_uint8(torch.zeros(2, 3, 4, 8, 8))
    with pytest.raises(v.VideoError, match=r"wanted uint8 \(F, H, W, 3\)"):
        v.batch_from_uint8([np.zeros((4, 8, 8, 3), dtype=np.float32)])
    frames = np.zeros((4, 8, 8, 3), dtype=np.uint8)
    for clips in ([], [frames, frames[:1]]):
        with pytest.raises(v.VideoError, match="wanted one or more of one shape"):
            v.batch_from_uint8(clips)


# ---- Frames ---------------------------------------------------------------------------------------------------------


def test_frame_indices_are_the_centres_of_equal_intervals():
    for num_source in range(1, 40):
        for num_frames in range(1, 40):
            expected = [int((i + 0.5) * num_source / num_frames + 1e-9) for i in range(num_frames)]
            got = v.frame_indices(num_source, num_frames)
            assert got.dtype == np.int64 and got.tolist() == expected
            assert np.ptp(np.bincount(got, minlength=num_source)) <= 1  # no frame is favoured by more than one


def test_frame_indices_of_an_empty_clip_are_an_error():
    with pytest.raises(v.VideoError, match="wanted at least 1"):
        v.frame_indices(0, 16)


def test_frames_of_the_right_size_come_back_unchanged_and_longer_sides_lose_both_ends():
    frames = noise(3, 8, 8, 3)
    np.testing.assert_array_equal(v.resize_and_crop(frames, 8), frames)
    wide = noise(3, 8, 14, 3)
    np.testing.assert_array_equal(v.resize_and_crop(wide, 8), wide[:, :, 3:11])
    np.testing.assert_array_equal(
        v.resize_and_crop(wide.transpose(0, 2, 1, 3), 8),
        wide.transpose(0, 2, 1, 3)[:, 3:11],
    )


@pytest.mark.parametrize(("height", "width", "size"), [(40, 60, 16), (500, 7, 16), (9, 12, 16), (17, 16, 16)])
def test_resizing_keeps_a_plain_colour_and_gives_squares(height, width, size):
    frames = np.full((2, height, width, 3), (10, 130, 250), dtype=np.uint8)
    resized = v.resize_and_crop(frames, size)
    assert resized.shape == (2, size, size, 3) and (resized == (10, 130, 250)).all()


def test_resizing_down_is_antialiased():
    stripes = np.zeros((1, 64, 64, 3), dtype=np.uint8)
    stripes[:, :, ::2] = 255
    inner = v.resize_and_crop(stripes, 16)[0, 4:-4, 4:-4].astype(int)
    assert abs(inner - 127).max() < 16  # picking single pixels would give 0 or 255
