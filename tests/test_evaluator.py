"""methods/evaluator.py: the statistics, and that both measures can come out right, wrong and at chance."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from config import make_config
from dataset import TextToSignDataset
from diffusion.text2sign import Text2Sign
from methods.evaluator import (
    EvaluationError,
    Score,
    evaluate,
    format_report,
    noise_levels,
    prompt_ranking,
    retrieval,
    score_retrieval,
    short_titles,
)
from methods.sampler import LoadedModel, load_model
from models.text_encoder import TextEncoder, TextFeatures
from schedulers.noise_schedulers import NoiseSchedule
from tests.conftest import moving_square, write_pair

ALL = list(range(8))


class Blind(nn.Module):
    """Predicts a grey clip whatever the text."""

    def forward(self, x_t: Tensor, t: Tensor, text: TextFeatures) -> Tensor:
        return torch.zeros_like(x_t)


class Obedient(nn.Module):
    """Predicts the real clip of the caption whose pooled features are nearest."""

    def __init__(self, data: TextToSignDataset, encoder: TextEncoder) -> None:
        super().__init__()
        self.videos, self.pooled = data.videos(ALL), encoder.encode(data.texts).pooled

    def forward(self, x_t: Tensor, t: Tensor, text: TextFeatures) -> Tensor:
        return self.videos[torch.cdist(text.pooled, self.pooled).argmin(1)]


@pytest.fixture(scope="module")
def data(clips_folder: Path) -> TextToSignDataset:
    return TextToSignDataset(clips_folder, num_frames=4, image_size=16)


def loaded_with(backbone: nn.Module, encoder: TextEncoder) -> LoadedModel:
    config = make_config("debug", {"GUIDANCE_SCALE": 1.0})
    model = Text2Sign(
        backbone, NoiseSchedule("cosine", 50), prediction_type="sample", clip_shape=config.INPUT_SHAPE,
        text_width=encoder.width, standardise_clips=False, standardise_text=False,
    )  # fmt: skip
    return LoadedModel(model, encoder, config, 0, Path("none"))


# ---- Statistics -----------------------------------------------------------------------------------------------------


def test_the_wilson_interval_at_the_ends_is_its_closed_form() -> None:
    z2 = 1.959964**2
    assert Score(0, 10, 0.1).interval() == pytest.approx((0.0, z2 / (10 + z2)), abs=1e-12)
    assert Score(10, 10, 0.1).interval() == pytest.approx((10 / (10 + z2), 1.0), abs=1e-12)
    assert Score(8, 10, 0.1).interval() == pytest.approx((0.4902, 0.9433), abs=1e-4)  # the textbook's example


@pytest.mark.parametrize(("correct", "num"), [(1, 7), (3, 26), (25, 26), (100, 333)])
def test_the_ends_of_the_interval_are_where_the_observation_is_just_plausible(correct: int, num: int) -> None:
    score = Score(correct, num, 0.5)
    for p in score.interval():
        assert abs(score.accuracy - p) == pytest.approx(1.959964 * math.sqrt(p * (1 - p) / num), rel=1e-6)


@pytest.mark.parametrize(("num", "chance"), [(8, Fraction(1, 8)), (26, Fraction(1, 26)), (64, Fraction(1, 2))])
def test_the_interval_of_guessing_holds_the_central_95_percent_of_the_binomial(num: int, chance: Fraction) -> None:
    below, total = [], Fraction(0)
    for k in range(num + 1):
        total += math.comb(num, k) * chance**k * (1 - chance) ** (num - k)
        below.append(total)
    low = next(k for k, share in enumerate(below) if share >= Fraction(25, 1000))
    high = next(k for k, share in enumerate(below) if share >= Fraction(975, 1000))
    assert Score(0, num, float(chance)).chance_interval() == pytest.approx((low / num, high / num))


def test_the_interval_of_guessing_can_be_had_for_thousands_of_clips() -> None:
    low, high = Score(0, 2000, 0.5).chance_interval()
    assert (low, high) == pytest.approx((0.5 - 0.0219, 0.5 + 0.0219), abs=1e-3)


def test_a_score_states_everything_as_json() -> None:
    assert json.loads(json.dumps(Score(3, 4, 0.25).to_dict())).keys() == {
        "correct", "num", "chance", "accuracy", "interval_95", "chance_95",
    }  # fmt: skip


@pytest.mark.parametrize("num_steps", [2, 8, 50, 1000])
def test_noise_levels_lie_evenly_inside_the_schedule(num_steps: int) -> None:
    levels = noise_levels(num_steps)
    assert len(levels) == 8 and levels == sorted(levels) and 0 <= levels[0] and levels[-1] < num_steps
    if num_steps % 16 == 8 or num_steps == 8:
        assert levels == list(range(num_steps // 16, num_steps, num_steps // 8))


# ---- The measures ---------------------------------------------------------------------------------------------------


def test_a_text_blind_model_ranks_nothing_right_because_ties_are_wrong(
    data: TextToSignDataset, encoder: TextEncoder
) -> None:
    ranking = prompt_ranking(loaded_with(Blind(), encoder), data, ALL, sorted(data.texts))
    assert (ranking.score.correct, ranking.score.num, ranking.score.chance) == (0, 8, 1 / 8)
    assert all(score.correct == 0 for score in ranking.by_timestep.values()) and len(ranking.by_timestep) == 8


def test_an_obedient_model_ranks_and_retrieves_everything_right(data: TextToSignDataset, encoder: TextEncoder) -> None:
    loaded, captions = loaded_with(Obedient(data, encoder), encoder), sorted(data.texts)
    ranking = prompt_ranking(loaded, data, ALL, captions)
    assert ranking.score.correct == 8 and all(score.correct == 8 for score in ranking.by_timestep.values())
    found = retrieval(loaded, data, ALL, captions)
    assert found.score.correct == 8 and found.psnr > 60


def test_a_model_that_obeys_other_captions_ranks_nothing_right(data: TextToSignDataset, encoder: TextEncoder) -> None:
    backbone = Obedient(data, encoder)
    backbone.videos = backbone.videos.roll(1, 0)
    assert prompt_ranking(loaded_with(backbone, encoder), data, ALL, sorted(data.texts)).score.correct == 0


def test_more_captions_than_fit_one_batch_are_ranked_alike(data: TextToSignDataset, encoder: TextEncoder) -> None:
    captions = sorted([*data.texts, *(f"distractor number {i}" for i in range(40))])
    ranking = prompt_ranking(loaded_with(Blind(), encoder), data, [0, 1], captions)
    assert ranking.score == Score(0, 2, 1 / 48)


def test_real_clips_are_their_own_nearest_and_swapped_ones_are_not(data: TextToSignDataset) -> None:
    clips = [data.frames(i) for i in ALL]
    right = score_retrieval(clips, data.texts, data, ALL)
    assert right.score == Score(8, 8, pytest.approx(1 / 8)) and right.psnr > 90
    wrong = score_retrieval(clips[1:] + clips[:1], data.texts, data, ALL)
    assert wrong.score.correct == 0 and wrong.psnr < 20


def test_psnr_is_that_of_a_range_of_two(tmp_path: Path) -> None:
    for name, level in (("a", 100), ("b", 200)):
        write_pair(tmp_path, name, np.full((4, 16, 16, 3), level, dtype=np.uint8), name)
    data = TextToSignDataset(tmp_path, num_frames=4, image_size=16)
    made = [np.full((4, 16, 16, 3), level, dtype=np.uint8) for level in (110, 210)]
    found = score_retrieval(made, ["a", "b"], data, [0, 1])
    assert found.psnr == pytest.approx(20 * math.log10(255 / 10), abs=1e-4) and found.score.correct == 2


def test_chance_counts_the_clips_of_each_caption(tmp_path: Path) -> None:
    for index, caption in enumerate(("a", "a", "a", "b")):
        write_pair(tmp_path, f"clip{index}", moving_square(index), caption)
    data = TextToSignDataset(tmp_path, num_frames=4, image_size=16)
    found = score_retrieval([data.frames(1), data.frames(3)], ["a", "b"], data, [0, 1, 2, 3])
    assert found.score == Score(2, 2, pytest.approx((3 / 4 + 1 / 4) / 2))


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


# ---- All of it ------------------------------------------------------------------------------------------------------


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
