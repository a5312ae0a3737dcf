"""FRAME_SPACING: windows at a rate, which of them is taken, how fast what is learned from them plays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from config import Config, ConfigError, make_config
from dataset import TextToSignDataset
from methods.sampling.loading import load_model
from methods.trainer import Trainer
from tests.reading.films import film, numbers
from utils.checkpoints import file as checkpoint

FRAMES = 20  # of a film of 10 a second


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "films").mkdir()
    for name, num_frames in (("long", FRAMES), ("short", 3)):
        film(tmp_path / "films" / f"{name}.mp4", num_frames)
        (tmp_path / "films" / f"{name}.txt").write_text(name)
    return tmp_path / "films"


def read(folder: Path, rate: float | None, cache: Path | str = "") -> TextToSignDataset:
    return TextToSignDataset(folder, num_frames=4, image_size=32, rate=rate, cache_dir=cache)


def taken(clip: np.ndarray) -> list[int]:
    return numbers(np.asarray(clip))


def test_a_window_lies_in_the_middle_and_a_short_clip_holds_its_last_frame_and_is_said(folder: Path) -> None:
    data = read(folder, 10.0)
    assert taken(data.frames(0)) == [8, 9, 10, 11] and taken(data.frames(1)) == [0, 1, 2, 2]
    (remark,) = data.remarks
    assert "short.mp4: 0.30 s are shorter than 4 frames at 10 a second" in remark
    assert taken(read(folder, 5.0).frames(0)) == [7, 9, 11, 13]
    assert taken(read(folder, None).frames(0)) == [2, 7, 12, 17]


def test_in_training_any_window_is_taken_a_pure_function_of_seed_epoch_and_clip(folder: Path, tmp_path: Path) -> None:
    data, cached = read(folder, 10.0), read(folder, 10.0, tmp_path / "cache")
    firsts = set()
    for epoch in range(60):
        (video,) = data.videos([0], drawn=(7, epoch))
        found = taken(((video.permute(1, 2, 3, 0) + 1) * 127.5).round().byte().numpy())
        assert found == list(range(found[0], found[0] + 4))
        assert cached.videos([0, 1], drawn=(7, epoch))[0].equal(video)
        firsts.add(found[0])
    assert firsts >= {0, FRAMES - 4} and len(firsts) > 12


def test_without_a_rate_nothing_is_drawn(folder: Path) -> None:
    data = read(folder, None)
    assert data.videos([0, 1], drawn=(1, 2)).equal(data.videos([0, 1]))


def test_what_was_learned_plays_as_fast_as_it_was(folder: Path) -> None:
    assert read(folder, None).frames_per_second([0]) == pytest.approx(4 / 2)
    assert read(folder, None).frames_per_second([0, 1]) == pytest.approx((4 / 2 + 4 / 0.3) / 2)
    assert read(folder, 12.5).frames_per_second([0, 1]) == 12.5


def test_the_speed_travels_in_the_checkpoint_and_a_setting_overrides_it(
    debug_config: Callable[..., Config], folder: Path
) -> None:
    trainer = Trainer(debug_config(DATA_DIR=str(folder), FRAME_SPACING="6.25"))
    trainer.train_step()
    path = trainer.save()
    assert checkpoint.load(path)["data"]["frames_per_second"] == 6.25
    assert load_model(path).fps == 6.25 and load_model(path, {"FPS": 11}).fps == 11


@pytest.mark.parametrize("value", ["odd", "0", "-3", "nan", ""])
def test_a_spacing_is_even_or_a_rate(value: str) -> None:
    with pytest.raises(ConfigError, match="FRAME_SPACING=.*wanted even, or frames per second such as 12.5"):
        make_config(overrides={"FRAME_SPACING": value})
