"""methods/serving/answer.py and markup.py: what may be asked, and what is shown."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import numpy as np
import pytest

from config import ConfigError, make_config
from methods.sampling.generate import generate
from methods.sampling.known_captions import Nearest, Nearness
from methods.sampling.loading import LoadedModel, load_model
from methods.sampling.provenance import Request, read
from methods.serving.answer import MAX_PROMPT, MAX_SEED, Asked, answer, checked
from methods.serving.markup import clips_html, nearness_html, refusal_html
from utils.reading.reader import read_frames

USUAL = {"num_clips": 2, "num_steps": 3, "guidance_scale": 2, "seed": 7}


@pytest.fixture(scope="module")
def loaded(trained_checkpoint: Path) -> LoadedModel:
    return load_model(trained_checkpoint)


def test_a_request_within_its_limits_is_taken_with_its_spaces_joined() -> None:
    assert checked(make_config("debug"), "  thank \n you ", **USUAL) == Asked("thank you", 2, 3, 2.0, 7)


@pytest.mark.parametrize("prompt", ["", " \n\t ", None, "x" * (MAX_PROMPT + 1), "a\0b", "\ud800"])
def test_no_prompt_and_one_without_end_are_refused(prompt: str | None) -> None:
    with pytest.raises(ConfigError, match="^The prompt "):
        checked(make_config("debug"), prompt, **USUAL)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_clips", 0), ("num_clips", 5), ("num_clips", True), ("num_clips", None), ("num_steps", 0),
        ("num_steps", 101), ("num_steps", "3"), ("guidance_scale", -0.1), ("guidance_scale", 10.1),
        ("guidance_scale", float("nan")), ("guidance_scale", None), ("seed", -1), ("seed", MAX_SEED + 1),
        ("seed", None),
    ],
)  # fmt: skip
def test_a_number_outside_its_limits_is_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match="wanted|Wanted"):
        checked(make_config("debug"), "hello", **{**USUAL, name: value})


def test_the_clips_are_those_of_sample_and_name_no_folder_of_the_machine(loaded: LoadedModel, tmp_path: Path) -> None:
    steps: list[int] = []
    found = answer(loaded, checked(loaded.config, "hello", **USUAL), on_step=steps.append)
    settings = {"SEED": 7, "INFERENCE_TIMESTEPS": 3, "GUIDANCE_SCALE": 2.0}
    wanted = generate(loaded.with_settings(**settings), [Request("hello", 7, index) for index in range(2)])
    assert all(np.array_equal(one.frames, other.frames) for one, other in zip(found, wanted, strict=True))
    assert steps == [2, 2, 2]
    found[0].write(tmp_path / "clip.mp4")
    assert read(tmp_path / "clip.mp4").checkpoint == loaded.path.name != wanted[0].facts.checkpoint
    assert min(read_frames(tmp_path / "clip.mp4").shape[1:3]) >= 256


def test_each_clip_plays_has_a_text_and_can_be_saved_and_no_prompt_becomes_markup(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    clips = answer(loaded, checked(loaded.config, '"<script>&', **USUAL))
    html = clips_html(clips)
    assert "<script>" not in html and html.count("&quot;&lt;script&gt;&amp;") == 2
    labels = re.findall(r'<video [^>]*aria-label="(Clip \d of 2)', html)
    assert labels == ["Clip 1 of 2", "Clip 2 of 2"] and html.count(" download=") == 2
    data = re.findall(r'src="data:video/mp4;base64,([^"]+)"', html)
    (tmp_path / "clip.mp4").write_bytes(base64.b64decode(data[1]))
    assert len(read_frames(tmp_path / "clip.mp4")) == len(clips[1].frames)


@pytest.mark.parametrize("farthest", [0.4, 0.6])
def test_the_nearest_captions_are_shown_and_a_far_prompt_is_warned_of(farthest: float) -> None:
    html = nearness_html(Nearness("x", [Nearest("a <b>", 0.5)], spread=0.2, farthest=farthest))
    assert "a &lt;b&gt;" in html and "0.50 away" in html and f"{farthest:.2f}" in html
    assert ("resembles nothing that was trained on" in html) == (farthest < 0.5)


def test_captions_that_nobody_kept_and_refusals_are_said_in_words() -> None:
    assert "unknown" in nearness_html(None)
    assert refusal_html("<x>") == '<p class="warning" role="alert">&lt;x&gt;</p>'
