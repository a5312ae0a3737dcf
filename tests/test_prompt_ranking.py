"""methods/prompt_ranking.py: the measure can come out right, wrong and at chance."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataset import TextToSignDataset
from methods.prompt_ranking import noise_levels, prompt_ranking
from methods.retrieval import retrieval
from methods.scores import Score
from models.text_encoder import TextEncoder
from tests.fake_models import ALL, Blind, Obedient, loaded_with


@pytest.fixture(scope="module")
def data(clips_folder: Path) -> TextToSignDataset:
    return TextToSignDataset(clips_folder, num_frames=4, image_size=16)


@pytest.mark.parametrize("num_steps", [2, 8, 50, 1000])
def test_noise_levels_lie_evenly_inside_the_schedule(num_steps: int) -> None:
    levels = noise_levels(num_steps)
    assert len(levels) == 8 and levels == sorted(levels) and 0 <= levels[0] and levels[-1] < num_steps
    if num_steps % 16 == 8 or num_steps == 8:
        assert levels == list(range(num_steps // 16, num_steps, num_steps // 8))


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
