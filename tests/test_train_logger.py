"""utils/train_logger.py: what is logged can be read back, by JSON and by TensorBoard's own reader."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import moving_square
from utils.train_logger import CATEGORIES, TrainLogger, tag


def read_events(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0, "tensors": 0})
    return events.Reload()


def loss(value: float) -> dict[tuple[str, str], float]:
    return {("Training", "loss"): value}


def test_tags_are_in_fifteen_numbered_categories() -> None:
    assert len(set(CATEGORIES)) == 15
    numbers = [tag(category, "x").split("_")[0] for category in CATEGORIES]
    assert numbers == [f"{number:02d}" for number in range(1, 16)]
    assert (tag("Training", "loss"), tag("Configuration", "settings")) == (
        "01_Training/loss",
        "15_Configuration/settings",
    )
    with pytest.raises(ValueError):
        tag("Trainings", "loss")


def test_every_step_is_a_line_of_json_with_the_values_that_tensorboard_shows(tmp_path: Path) -> None:
    with TrainLogger(tmp_path / "new" / "run") as log:
        log.scalars(1, {**loss(0.5), ("System", "peak_memory_gib"): 2})
        log.scalars(2, loss(0.25))
    lines = [json.loads(line) for line in (tmp_path / "new" / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(line.pop("time") > 1.7e9 for line in lines)  # seconds since the epoch
    assert lines == [
        {"step": 1, "01_Training/loss": 0.5, "14_System/peak_memory_gib": 2.0},
        {"step": 2, "01_Training/loss": 0.25},
    ]
    events = read_events(tmp_path / "new" / "run")
    assert events.Tags()["scalars"] == ["01_Training/loss", "14_System/peak_memory_gib"]
    assert [(event.step, event.value) for event in events.Scalars("01_Training/loss")] == [(1, 0.5), (2, 0.25)]


@pytest.mark.parametrize("num_frames", [2, 4, 16])
def test_a_clip_is_read_back_with_exactly_its_frames(tmp_path: Path, num_frames: int) -> None:
    frames = np.resize(moving_square(1), (num_frames, 16, 16, 3))  # frames that repeat are not merged
    with TrainLogger(tmp_path) as log:
        log.clip(7, "thank you", frames, fps=8)
    (event,) = read_events(tmp_path).Images("12_Generated_Samples/thank you")
    assert (event.step, event.width, event.height) == (7, 16, 16)
    with Image.open(io.BytesIO(event.encoded_image_string)) as image:
        assert (image.format, image.n_frames) == ("GIF", num_frames)
        for index in range(num_frames):
            image.seek(index)
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), frames[index])


def test_settings_are_a_table(tmp_path: Path) -> None:
    with TrainLogger(tmp_path) as log:
        log.settings(0, {"SEED": 7, "FPS": 8})
    (event,) = read_events(tmp_path).Tensors("15_Configuration/settings/text_summary")
    (text,) = event.tensor_proto.string_val
    assert text.decode().splitlines() == ["| setting | value |", "|---|---|", "| SEED | `7` |", "| FPS | `8` |"]


def test_what_was_logged_beyond_the_resumed_step_is_hidden_and_the_rest_kept(tmp_path: Path) -> None:
    with TrainLogger(tmp_path) as log:
        for step in (1, 2, 3, 4):
            log.scalars(step, loss(step))
    with TrainLogger(tmp_path, first_step=2) as log:
        log.scalars(3, loss(30))
    shown = [(event.step, event.value) for event in read_events(tmp_path).Scalars("01_Training/loss")]
    assert shown == [(1, 1.0), (2, 2.0), (3, 30.0)]
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 3]  # the file is continued, never cut
