"""``plan`` on the command line: what it says, what it is as JSON, and where it refuses."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from config import Config, UserError, make_config
from dataset import load_dataset
from main import main
from methods.planning.memory import Place, plan_sampling, plan_training
from methods.planning.plan import (
    clips_between_steps,
    make_plan,
    memory_between_steps,
    num_training_clips,
)
from methods.planning.text import as_text
from models.encoder_files import TextEncoderError, encoder_shape
from models.text_encoder import MEMORY_BYTES, TextEncoder, memory_bytes
from presets import PACKAGED_ENCODER
from tests.conftest import command_settings, files_below, write_clips_folder
from utils import runtime
from utils.layouts.registry import read_listing

GIB = 2**30
BRIEF = {"MODEL_ARCHITECTURE": "vit3d"}  # the quickest to trace, where any architecture will do
ABSENT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")


def test_the_table_says_what_takes_the_memory_how_long_it_takes_and_that_it_fits(
    tmp_path: Path, clips_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *command_settings(tmp_path, clips_folder)]) == 0
    out = capsys.readouterr().out
    for words in (
        "tinyfusion DiT-XXS/8", "planned for: cpu, float32", "  weights ", "  gradients ", "  optimiser's moments",
        "  averaged weights (EMA)", "  peak, in the ", "  text encoder",
        " between steps", "operations of a step", "at least", "expected", "an epoch: 4 steps for 8 clips",
    ):  # fmt: skip
        assert words in out, words
    assert out.splitlines()[-1].startswith("fits: needs ")
    assert max(map(len, out.splitlines())) <= 140


def test_where_it_does_not_fit_levers_are_tried_and_told_with_those_that_are_enough_marked(
    debug_config: Callable[..., Config],
) -> None:
    """One by one, and last all together."""
    config = debug_config(BATCH_SIZE=4, GRADIENT_CHECKPOINTING=False, **BRIEF)
    plan = make_plan(config, memory=2**20)
    assert plan.needed > plan.memory
    changes = [change for change, _ in plan.levers]
    assert changes[0] == {"GRADIENT_CHECKPOINTING": True} and len(changes) > 2
    assert changes[-1] == {key: value for change in changes[:-1] for key, value in change.items()}
    assert plan.levers[-1][1] < plan.on_device  # all of them together
    lines = as_text(plan).splitlines()
    assert lines[-1].startswith("does not fit: needs ") and "too much" in lines[-1]
    assert any("--set GRADIENT_CHECKPOINTING=True" in line for line in lines)
    assert "(fits)" not in "".join(lines)
    tight = as_text(replace(plan, memory=plan.needed - 1))
    assert "(fits)" in tight and "what would help" in tight
    assert "Say --memory 8" in as_text(replace(plan, memory=None)).splitlines()[-1]


@ABSENT_GPU
def test_an_absent_gpu_is_planned_for_without_seconds(
    tmp_path: Path, clips_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = command_settings(tmp_path, clips_folder, DEVICE="cuda", MIXED_PRECISION="auto", **BRIEF)
    assert main(["plan", *flags, "--memory", "8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("planned for: cuda, bfloat16; it is not here") for line in lines)
    assert any("seconds of a step: not known" in line for line in lines)
    assert lines[-1].startswith("fits: needs ") and "CUDA's own context" in lines[-1]


def test_an_encoder_and_clips_that_are_not_here_are_said(debug_config: Callable[..., Config], tmp_path: Path) -> None:
    nowhere = tmp_path / "none"
    plan = make_plan(debug_config(TEXT_ENCODER="nobody/nothing", DATA_DIR=str(nowhere), **BRIEF))
    assert plan.encoder is None and "text encoder" not in plan.host
    text = as_text(plan)
    assert "TEXT_ENCODER=nobody/nothing is not on this machine; 768 channels are assumed" in text
    assert f"an epoch: not known, DATA_DIR={nowhere}" in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--memory", "0"], "--memory 0; wanted GiB above 0"),
        (["--memory", "nan"], "--memory nan; wanted GiB above 0"),
        (["--set", "MODEL_ARCHITECTURE=dit3d", "--set", "TINYFUSION_FREEZE_BACKBONE=True"], "nothing is published for"),
        (["--set", "TEXT_ENCODER=package:nothing_of_this_name"], "no installed package of that name"),
        (["--set", "DEVICE=cpu", "--set", "MIXED_PRECISION=fp16"], "fp16 needs a GPU"),
    ],
)
def test_a_mistake_is_one_line(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--preset", "debug", *flags]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


# ---- What is looked up ----------------------------------------------------------------------------------------------


def test_the_encoders_shape_is_that_of_the_loaded_encoder(encoder: TextEncoder) -> None:
    found = encoder_shape(PACKAGED_ENCODER)
    assert found.width == encoder.width
    assert found.num_bytes == sum(p.nbytes for p in encoder.model.parameters())
    assert encoder_shape("nobody/nothing") is None
    with pytest.raises(TextEncoderError, match="no installed package"):
        encoder_shape("package:nothing_of_this_name")


def test_names_are_those_of_the_dataset(debug_config: Callable[..., Config], clips_folder: Path) -> None:
    config = debug_config()
    assert [row.name for row in read_listing(clips_folder)[1].rows] == load_dataset(config).names
    assert num_training_clips(config) == 8
    assert num_training_clips(debug_config(VALIDATION_FRACTION=0.5)) == 4
    with pytest.raises(UserError, match="none.json cannot be read"):
        num_training_clips(debug_config(SPLIT_FILE=str(clips_folder / "none.json")))


def test_captions_that_the_cache_knows_are_not_read_again(debug_config: Callable[..., Config], tmp_path: Path) -> None:
    """One that is emptied behind its size and time is still what it was, as for a start."""
    folder = write_clips_folder(tmp_path / "clips")
    for path in folder.iterdir():
        os.utime(path, (1e9, 1e9))
    config = debug_config(DATA_DIR=str(folder))
    load_dataset(config)
    caption = folder / "signer0__clip0.txt"
    caption.write_text(" " * caption.stat().st_size)
    os.utime(caption, (1e9, 1e9))
    before = files_below(tmp_path)
    assert (num_training_clips(config), num_training_clips(replace(config, CACHE_DIR=""))) == (8, 7)
    assert files_below(tmp_path) == before


def test_what_is_kept_of_captions_is_counted_up_to_its_bound(debug_config: Callable[..., Config]) -> None:
    plan = make_plan(debug_config(**BRIEF))
    assert plan.host["captions' text features"] == plan.num_clips * 4 * plan.config.TEXT_MAX_LENGTH * 384
    assert "captions' text features" in as_text(plan)
    assert memory_bytes(31_000, num_tokens=32, width=768) == MEMORY_BYTES == 2**28


def test_clips_between_steps_are_the_most_that_any_interval_asks_for() -> None:
    never = {"SAMPLE_EVERY_EPOCHS": 0, "RANK_EVERY_EPOCHS": 0, "VALIDATE_EVERY_EPOCHS": 0}
    assert clips_between_steps(make_config("debug", never)) == 0
    assert clips_between_steps(make_config("debug", {**never, "SAMPLE_EVERY_EPOCHS": 1, "NUM_PREVIEWS": 3})) == 3
    assert clips_between_steps(make_config("debug", {**never, "RANK_EVERY_EPOCHS": 1})) == 8
    assert clips_between_steps(make_config("debug", {**never, "VALIDATE_EVERY_EPOCHS": 1, "BATCH_SIZE": 5})) == 2
    large = {"IMAGE_SIZE": 128, "NUM_FRAMES": 16}  # two of them have the pixels of eight clips of the default size
    assert clips_between_steps(make_config("debug", {**never, **large, "RANK_EVERY_EPOCHS": 1})) == 2


def test_averages_on_the_host_change_places_with_the_weights_between_steps() -> None:
    """Beside a model that samples wait two moments, and its own weights only if the averages lie on the device."""
    gpu = Place(torch.device("cuda"), present=False, dtype=torch.bfloat16)
    sizes = {"text_width": 384, "num_tokens": 8}
    found = {}
    for where in ("cpu", "model"):
        config = make_config("debug", {**BRIEF, "EMA_DEVICE": where})
        training = plan_training(config, gpu, **sizes)
        found[where] = memory_between_steps(config, gpu, training, sizes)
    sampling = plan_sampling(config, gpu, num_clips=clips_between_steps(config), **sizes).num_bytes
    parameters = 4 * training.num_trainable
    assert (found["cpu"], found["model"]) == (sampling + 2 * parameters, sampling + 3 * parameters)


def test_the_memory_of_the_host_is_within_what_is_installed() -> None:
    assert 2**28 < runtime.memory_bytes(torch.device("cpu")) < 2**50
