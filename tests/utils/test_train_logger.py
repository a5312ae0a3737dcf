"""utils/train_logger.py: what is logged can be read back, by JSON and by TensorBoard's own reader."""

from __future__ import annotations

import io
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from tests.conftest import moving_square
from utils.train_logger import CATEGORIES, TrainLogger, tag


def read_events(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0, "tensors": 0, "histograms": 0})
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
        log.scalars(2, {("Epoch_Summary", "previews_moving_psnr"): 20.0}, shown_only=True)
    lines = [json.loads(line) for line in (tmp_path / "new" / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(line.pop("time") > 1.7e9 for line in lines)  # seconds since the epoch
    assert lines == [
        {"step": 1, "01_Training/loss": 0.5, "14_System/peak_memory_gib": 2.0},
        {"step": 2, "01_Training/loss": 0.25},
    ]
    events = read_events(tmp_path / "new" / "run")
    assert events.Tags()["scalars"] == [
        "01_Training/loss", "14_System/peak_memory_gib", "03_Epoch_Summary/previews_moving_psnr"
    ]  # fmt: skip
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


def test_what_is_no_number_is_null_in_json_and_seen_in_tensorboard(tmp_path: Path) -> None:
    with TrainLogger(tmp_path) as log:
        log.scalars(1, {**loss(math.nan), ("Training", "gradient_norm"): math.inf})
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    values = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert values["01_Training/loss"] is None and values["01_Training/gradient_norm"] is None
    assert math.isnan(read_events(tmp_path).Scalars("01_Training/loss")[0].value)


def test_a_table_is_markdown_below_its_note(tmp_path: Path) -> None:
    with TrainLogger(tmp_path) as log:
        log.table(0, "Configuration", "settings", ("setting", "value"), [["SEED", 7], ["A", "x|y"]], note="All of them")
    (event,) = read_events(tmp_path).Tensors("15_Configuration/settings/text_summary")
    (text,) = event.tensor_proto.string_val
    assert text.decode().splitlines() == [
        "All of them", "", "| setting | value |", "| --- | --- |", "| SEED | 7 |", "| A | x\\|y |",
    ]  # fmt: skip


def test_a_picture_is_read_back_pixel_by_pixel(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    with TrainLogger(tmp_path) as log:
        log.picture(3, "Noise_Visualization", "clips", pixels)
    (event,) = read_events(tmp_path).Images("13_Noise_Visualization/clips")
    assert (event.step, event.width, event.height) == (3, 30, 20)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(event.encoded_image_string))), pixels)


def test_a_histogram_keeps_its_counts_and_sums(tmp_path: Path) -> None:
    values = torch.tensor([-1.0, -1.0, 0.5, 3.0])
    with TrainLogger(tmp_path) as log:
        log.histogram(2, "Parameter_Histograms", "text", values)
    (event,) = read_events(tmp_path).Histograms("10_Parameter_Histograms/text")
    found = event.histogram_value
    assert (found.min, found.max, found.num, found.sum, found.sum_squares) == (-1.0, 3.0, 4, 1.5, 11.25)
    assert sum(found.bucket) == 4


def test_a_graph_names_the_modules(tmp_path: Path) -> None:
    with TrainLogger(tmp_path) as log:
        log.graph(nn.Sequential(nn.Linear(3, 4), nn.GELU()), (torch.zeros(2, 3),))
    names = [node.name for node in read_events(tmp_path).Graph().node]
    assert any("Linear" in name for name in names) and any("GELU" in name for name in names)


@pytest.mark.parametrize(("first_step", "kept"), [(2, [1, 2]), (4, [1, 2, 3, 4]), (0, [])])
def test_what_was_logged_beyond_the_beginning_is_hidden_and_put_aside(
    tmp_path: Path, first_step: int, kept: list[int]
) -> None:
    with TrainLogger(tmp_path) as log:
        for step in (1, 2, 3, 4):
            log.scalars(step, loss(step))
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 1, "ti')  # a line that a crash cut short
    time.sleep(1 - time.time() % 1)  # TensorBoard orders files by the second of their names, then by a number as text
    with TrainLogger(tmp_path, first_step=first_step) as log:
        log.scalars(first_step + 1, loss(30))
    wanted = [*kept, first_step + 1]
    events = read_events(tmp_path).Scalars("01_Training/loss")
    assert [event.step for event in events] == wanted and events[-1].value == 30.0
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == wanted and lines[-1]["01_Training/loss"] == 30.0
    aside = (tmp_path / "metrics_replaced.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in aside[:-1]] == [step for step in (1, 2, 3, 4) if step not in kept]
    assert aside[-1] == '{"step": 1, "ti'


def test_going_on_after_many_lines_takes_time_that_grows_with_their_number(tmp_path: Path) -> None:
    """With their square it took minutes."""
    lines = [f'{{"step": {step}}}\n' for step in range(1, 40_001)]
    (tmp_path / "metrics.jsonl").write_text("".join(lines))
    started = time.perf_counter()
    with TrainLogger(tmp_path, first_step=39_990):
        assert time.perf_counter() - started < 5
    assert (tmp_path / "metrics.jsonl").read_text() == "".join(lines[:39_990])
    assert (tmp_path / "metrics_replaced.jsonl").read_text() == "".join(lines[39_990:])


def test_bytes_that_are_no_line_of_ours_are_put_aside_as_they_are(tmp_path: Path) -> None:
    strange = b'{"step": "one"}\n{"step": [1]}\n[]\n\xff\xfe\n"\x85"\n\n{"step": 1'
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + strange)
    TrainLogger(tmp_path, first_step=5).__exit__()
    assert (tmp_path / "metrics.jsonl").read_bytes() == b'{"step": 1}\n'
    assert (tmp_path / "metrics_replaced.jsonl").read_bytes() == strange


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size there")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of TensorBoard's own thread
@pytest.mark.parametrize("is_room_again", [True, False])
def test_a_full_disk_is_one_line_and_what_it_refused_is_written_once_there_is_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], is_room_again: bool
) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with TrainLogger(tmp_path) as log:
            log.scalars(1, loss(1))
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
            for step in range(2, 100):
                log.scalars(step, loss(step))
                log.picture(step, "Noise_Visualization", "clips", np.zeros((20, 30, 3), dtype=np.uint8))
            if is_room_again:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
                log.scalars(100, loss(100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert told == [
        f"note: {tmp_path} cannot be written (File too large); training goes on. "
        "TensorBoard stops here, metrics.jsonl goes on once there is room"
    ]
    data = (tmp_path / "metrics.jsonl").read_text()
    steps = [json.loads(line)["step"] for line in data.splitlines()[: None if is_room_again else -1]]
    assert steps == list(range(1, 101 if is_room_again else len(steps) + 1))
    assert len(data) == 1000 or is_room_again
