"""methods/evaluation/ranking.py: the measure can come out right, wrong and at chance."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dataset import TextToSignDataset
from methods.evaluation.controls import denoising
from methods.evaluation.pixels import score_retrieval
from methods.evaluation.ranking import Contest, Ranking, noise_levels, prompt_ranking, ranking_levels
from methods.evaluation.scores import Score
from methods.sampling.generate import generate
from methods.sampling.provenance import Request
from models.text_encoder import TextEncoder
from models.text_features import TextFeatures
from tests.conftest import moving_square, write_pair
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


@pytest.mark.parametrize("num_steps", [9, 50, 1000])
def test_the_first_levels_of_a_ranking_are_among_the_middles_of_its_parts(num_steps: int) -> None:
    levels = ranking_levels(num_steps)
    assert levels[:3] == noise_levels(num_steps, 3) == noise_levels(num_steps, 9)[1::3]
    assert sorted(levels) == noise_levels(num_steps, 9)


class Wavering(nn.Module):
    """Under caption k of K, the real clip and an error that is least for k = ``best[t]``."""

    def __init__(self, data: TextToSignDataset, encoder: TextEncoder, best: dict[int, int]) -> None:
        super().__init__()
        self.video, self.pooled, self.best = data.videos([0]), encoder.encode(sorted(data.texts)).pooled, best

    def forward(self, x_t: Tensor, t: Tensor, text: TextFeatures) -> Tensor:
        caption = torch.cdist(text.pooled, self.pooled).argmin(1)
        off = (caption != torch.tensor([self.best[int(level)] for level in t])).float()
        return self.video + off[:, None, None, None, None]


def test_a_contest_ends_when_the_first_levels_agree_whichever_caption_they_name(
    data: TextToSignDataset, encoder: TextEncoder
) -> None:
    captions, levels = sorted(data.texts), ranking_levels(50)
    own = captions.index(data.texts[0])
    for first, num_levels, correct in (
        ([own] * 3, 3, 1),  # agreed and right
        ([own - 1] * 3, 3, 0),  # agreed and wrong
        ([own, own, own - 1], 9, 1),  # undecided: the other levels name the own one
    ):
        best = dict(zip(levels, [*first, *[own] * 6], strict=True))
        ranking = prompt_ranking(loaded_with(Wavering(data, encoder, best), encoder), data, [0], captions)
        assert len(ranking.contests[0].errors) == num_levels and ranking.score.correct == correct
        assert list(ranking.by_timestep) == levels[:3]


def test_a_text_blind_model_ranks_nothing_right_because_ties_are_wrong(
    data: TextToSignDataset, encoder: TextEncoder
) -> None:
    ranking = prompt_ranking(loaded_with(Blind(), encoder), data, ALL, sorted(data.texts))
    assert (ranking.score.correct, ranking.score.num, ranking.score.chance) == (0, 8, 1 / 8)
    assert all(score.correct == 0 for score in ranking.by_timestep.values()) and len(ranking.by_timestep) == 3


def test_an_obedient_model_ranks_and_retrieves_everything_right(data: TextToSignDataset, encoder: TextEncoder) -> None:
    loaded, captions = loaded_with(Obedient(data, encoder), encoder), sorted(data.texts)
    ranking = prompt_ranking(loaded, data, ALL, captions)
    assert ranking.score.correct == 8 and all(score.correct == 8 for score in ranking.by_timestep.values())
    clips = [clip.frames for clip in generate(loaded, [Request(caption, 0) for caption in captions])]
    found, psnr = score_retrieval(clips, captions, data, ALL)
    assert found.correct == 8 and psnr > 60


def test_a_model_that_obeys_other_captions_ranks_nothing_right(data: TextToSignDataset, encoder: TextEncoder) -> None:
    backbone = Obedient(data, encoder)
    backbone.videos = backbone.videos.roll(1, 0)
    assert prompt_ranking(loaded_with(backbone, encoder), data, ALL, sorted(data.texts)).score.correct == 0


def test_no_forward_has_more_clips_than_a_batch_and_its_size_changes_no_score(
    data: TextToSignDataset, encoder: TextEncoder
) -> None:
    sizes = []

    class Counting(Obedient):
        def forward(self, x_t: Tensor, t: Tensor, text: TextFeatures) -> Tensor:
            sizes.append(len(x_t))
            return super().forward(x_t, t, text)

    loaded, captions = loaded_with(Counting(data, encoder), encoder), sorted(data.texts)
    whole = prompt_ranking(loaded, data, ALL, captions), denoising(loaded, data, ALL)
    assert set(sizes) == {8}
    sizes.clear()
    few = replace(loaded, batch_size=3)
    ranking, levels = prompt_ranking(few, data, ALL, captions), denoising(few, data, ALL)
    assert set(sizes) == {2, 3}
    for a, b in zip(ranking.contests, whole[0].contests, strict=True):
        torch.testing.assert_close(a.errors, b.errors)
    assert [level.error for level in levels.values()] == pytest.approx([level.error for level in whole[1].values()])


def test_more_captions_than_fit_one_batch_are_ranked_alike(data: TextToSignDataset, encoder: TextEncoder) -> None:
    captions = sorted([*data.texts, *(f"distractor number {i}" for i in range(40))])
    ranking = prompt_ranking(loaded_with(Blind(), encoder), data, [0, 1], captions)
    assert ranking.score == Score(0, 2, 1 / 8)  # by guessing a caption that the data hold


# ---- Contests in closed form ----------------------------------------------------------------------------------------


def contest(*errors: float, own: int = 0) -> Contest:
    captions = [f"c{i}" for i in range(len(errors))]
    return Contest(captions, captions[own], torch.tensor([errors, errors]), commoner=0, as_common=len(captions) - 1)


def test_a_tie_and_a_number_that_is_none_are_no_win() -> None:
    for errors in ((1.0, 1.0), (math.nan, 1.0), (1.0, math.nan), (math.inf, math.inf)):
        assert Ranking([contest(*errors)], [0, 1]).score.correct == 0
    assert Ranking([contest(1.0, 1.001)], [0, 1]).score.correct == 1


def test_every_noise_level_counts_by_shares() -> None:
    large, small = [100.0, 101.0], [0.02, 0.01]  # the own caption: 1 % better where errors are large, twice as bad else
    mixed = Contest(["own", "other"], "own", torch.tensor([large, small]), commoner=0, as_common=1)
    assert Ranking([mixed], [0, 1]).score.correct == 0
    assert [score.correct for score in Ranking([mixed], [0, 1]).by_timestep.values()] == [1, 0]


@pytest.mark.parametrize("ways", [2, 3, 4])
@pytest.mark.parametrize("own", range(6))
def test_among_few_captions_the_share_is_that_of_all_choices(ways: int, own: int) -> None:
    errors = (0.3, 0.1, 0.5, 0.2, 0.2, 0.9)
    others = [error for i, error in enumerate(errors) if i != own]
    choices = list(itertools.combinations(others, ways - 1))
    wins = sum(all(errors[own] < other for other in choice) for choice in choices)
    found = Ranking([contest(*errors, own=own)], [0, 1]).few_way(ways)
    assert found == Score(pytest.approx(wins / len(choices)), 1, 1 / ways)


@pytest.mark.parametrize("ways", [2, 3, 4, 6])
@pytest.mark.parametrize("own", range(6))
def test_who_says_the_commonest_caption_is_right_as_often_as_over_all_choices(ways: int, own: int) -> None:
    counts = (5, 2, 2, 2, 1, 1)
    others = [count for i, count in enumerate(counts) if i != own]
    choices = list(itertools.combinations(others, ways - 1))
    wins = sum((max(choice) <= counts[own]) / (1 + choice.count(counts[own])) for choice in choices)
    commoner, as_common = sum(count > counts[own] for count in others), others.count(counts[own])
    found = Contest([f"c{i}" for i in range(6)], f"c{own}", torch.zeros(1, 6), commoner, as_common)
    assert found.by_frequency(ways - 1) == pytest.approx(wins / len(choices))


def test_always_the_commonest_caption_does_not_beat_guessing(tmp_path: Path, encoder: TextEncoder) -> None:
    """Nine clips of one caption, one of another: nine of ten right is what looking at nothing gives."""
    for index in range(10):
        write_pair(tmp_path, f"clip{index}", moving_square(index % 8), "often" if index else "once")
    data = TextToSignDataset(tmp_path, num_frames=4, image_size=16)
    ranking = prompt_ranking(loaded_with(Blind(), encoder), data, list(range(10)), ["often", "once"])
    assert ranking.score.chance == pytest.approx(0.9) and ranking.score.correct == 0


def test_a_contest_of_three_has_no_four_ways() -> None:
    assert Ranking([contest(0.1, 0.2, 0.3), contest(0.1, 0.2, 0.3, 0.4)], [0, 1]).few_way() is None


def test_asked_by_other_captions_a_perfect_ranking_is_never_right() -> None:
    perfect = Ranking([contest(*(float(i != own) for i in range(8)), own=own) for own in range(8)], [0, 1])
    assert perfect.score == Score(8, 8, 1 / 8) and perfect.with_other_captions(seed=0) == Score(0, 8, 1 / 8)


def test_contests_of_several_sizes_share_one_chance() -> None:
    assert Ranking([contest(0.1, 0.2), contest(0.1, 0.2, 0.3, 0.4)], [0, 1]).score == Score(2, 2, 3 / 8)


def test_every_clip_can_have_captions_of_its_own(data: TextToSignDataset, encoder: TextEncoder) -> None:
    among = [[data.texts[i], data.texts[(i + 1) % 8]] for i in ALL]
    ranking = prompt_ranking(loaded_with(Obedient(data, encoder), encoder), data, ALL, among)
    assert ranking.score == Score(8, 8, 1 / 2)
