"""methods/evaluator.py: a whole evaluation and what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from dataset import TextToSignDataset
from methods.evaluator import EvaluationError, evaluate, format_report, short_titles
from methods.sampler import load_model
from models.text_encoder import TextEncoder
from tests.conftest import moving_square, write_pair
from tests.fake_models import Blind, loaded_with


@pytest.fixture(scope="module")
def data(clips_folder: Path) -> TextToSignDataset:
    return TextToSignDataset(clips_folder, num_frames=4, image_size=16)


@pytest.mark.parametrize(
    ("captions", "titles"),
    [
        (["letter A in X", "letter B in X"], ["A", "B"]),
        (["hello", "no"], ["hello", "no"]),
        (["a b", "a b c"], ["b", "b c"]),
        (["x a x", "x x"], ["a x", "x"]),
        (["the end", "an end"], ["the", "an"]),
    ],
)
def test_titles_lose_what_all_captions_share(captions: list[str], titles: list[str]) -> None:
    assert short_titles(captions) == titles


def test_an_evaluation_writes_its_report_a_contact_sheet_and_the_clips(
    trained_checkpoint: Path, data: TextToSignDataset, tmp_path: Path
) -> None:
    loaded = load_model(trained_checkpoint)
    report = evaluate(loaded, data, folder=tmp_path, clips_per_caption=2)
    assert json.loads((tmp_path / "evaluation.json").read_text()) == report
    assert report["num_clips"] == 8 and report["prompt_ranking"]["num"] == 8 and report["step"] == 8
    assert 0 < report["retrieval_psnr_db"] < 60 and len(report["prompt_ranking_by_timestep"]) == 8
    clips = sorted((tmp_path / "generated").iterdir())
    assert [path.name for path in clips] == [f"{i:03d}_{copy}.gif" for i in range(8) for copy in (0, 1)]
    assert report["retrieval"]["num"] == 16 and report["retrieval"]["chance"] == pytest.approx(1 / 8)
    with Image.open(clips[0]) as image:
        assert image.n_frames == 4 and image.info["comment"].decode() == sorted(data.texts)[0]
    with Image.open(tmp_path / "contact_sheet.png") as sheet:
        assert sheet.width > 8 * 2 * 16 and sheet.height > 2 * 2 * 16
    assert "prompt ranking" in format_report(report) and "/8" in format_report(report)
    assert (
        evaluate(loaded, data, folder=tmp_path / "again", clips_per_caption=2) == report
    )  # the same numbers every time


def test_fewer_clips_can_be_asked_for(trained_checkpoint: Path, data: TextToSignDataset, tmp_path: Path) -> None:
    report = evaluate(load_model(trained_checkpoint), data, folder=tmp_path, max_clips=3)
    assert (report["num_clips"], report["num_captions"]) == (3, 3)


def test_one_caption_cannot_be_confused(tmp_path: Path, encoder: TextEncoder) -> None:
    write_pair(tmp_path, "a", moving_square(0), "same")
    write_pair(tmp_path, "b", moving_square(1), "same")
    data = TextToSignDataset(tmp_path, num_frames=4, image_size=16)
    with pytest.raises(EvaluationError, match="has one caption, 'same'; ranking needs at least 2"):
        evaluate(loaded_with(Blind(), encoder), data, folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()
