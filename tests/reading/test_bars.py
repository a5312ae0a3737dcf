"""utils/reading/bars.py: bars are found, what is merely dark is not; then that nothing of a bar is trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.reading.films import grey, write_film
from utils.layouts.listing import Row
from utils.reading.bars import Box, without_bars
from utils.reading.prepare import Settings, prepare_videos
from utils.reading.reader import read_clip

WHOLE = Box(0, 0, 80, 60)


def scene(*, wall: int = 90, noise: int = 6) -> np.ndarray:
    """(8, 60, 80, 3) uint8: a bright square goes to the right before a wall of grey ``wall`` +- ``noise``."""
    levels = wall + np.random.RandomState(0).randint(-noise, noise + 1, (8, 60, 80, 1))
    frames = np.clip(levels, 0, 255).astype(np.uint8).repeat(3, axis=3)
    for step in range(8):
        frames[step, 20:40, 30 + step : 50 + step] = 200
    return frames


def barred(frames: np.ndarray, *, left: int = 0, right: int = 0, top: int = 0, bottom: int = 0) -> np.ndarray:
    inside = np.zeros_like(frames)
    h, w = frames.shape[1:3]
    inside[:, top : h - bottom, left : w - right] = frames[:, top : h - bottom, left : w - right]
    return np.maximum(inside, np.random.RandomState(1).randint(0, 12, frames.shape).astype(np.uint8))  # a codec's black


@pytest.mark.parametrize(
    ("bars", "box"),
    [
        ({"top": 8, "bottom": 8}, Box(0, 9, 80, 51)),  # letterbox
        ({"left": 12, "right": 10}, Box(13, 0, 69, 60)),  # pillarbox
        ({"left": 12, "right": 12, "top": 5, "bottom": 6}, Box(13, 6, 67, 53)),
        ({"bottom": 4}, Box(0, 0, 80, 55)),
        ({}, WHOLE),
    ],
)
def test_bars_of_any_side_are_found_with_the_line_beside_them(bars: dict[str, int], box: Box) -> None:
    assert without_bars(barred(scene(), **bars)) == box


def test_a_dark_wall_is_no_bar() -> None:
    assert without_bars(scene(wall=12)) == WHOLE  # black behind the signer, who ends it nowhere in a straight edge
    glow = np.minimum(np.arange(80), np.arange(80)[::-1]).astype(np.uint8) * 2  # of a lamp, 2 levels a pixel
    assert without_bars(np.maximum(scene(wall=12), glow[:, None])) == WHOLE
    assert without_bars(np.zeros((3, 60, 80, 3), dtype=np.uint8)) == WHOLE


def test_a_frame_that_is_dark_for_a_moment_has_no_bars() -> None:
    frames = scene()
    frames[0] = 0
    assert without_bars(frames) == WHOLE


@pytest.mark.parametrize("crop", ["signer", "set", "centre"])
@pytest.mark.parametrize("side", ["letterbox", "pillarbox"])
def test_prepared_clips_hold_nothing_of_a_bar(side: str, crop: str, tmp_path: Path) -> None:
    frames = np.stack([grey(index, width=128, height=96) for index in range(8, 20)])
    bars = {"top": 16, "bottom": 16} if side == "letterbox" else {"left": 20, "right": 20}
    source = tmp_path / "in"
    source.mkdir()
    write_film(source / "a.mp4", barred(frames, **bars))
    (source / "a.txt").write_text("x")
    written = prepare_videos(source, tmp_path / "out", Settings(32, crop=crop, trim=False))
    assert written.written == ["a.mp4"]
    clip = read_clip(Row(tmp_path / "out/a.mp4", "x", "x"), num_frames=12, image_size=32)
    assert clip.frames.min() > 40  # the darkest of the scene is 50
