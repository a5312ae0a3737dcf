"""methods/evaluation/controls.py: what must fail, and models that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dataset import TextToSignDataset
from methods.evaluation.controls import Denoising, UntrainedError, control, denoising, redealt, refuse_untrained
from methods.evaluation.scores import Score
from methods.sampling.loading import LoadedModel
from models.text_encoder import TextEncoder
from tests.fake_models import ALL, Blind, Obedient, loaded_with


@pytest.fixture(scope="module")
def data(clips_folder: Path) -> TextToSignDataset:
    return TextToSignDataset(clips_folder, num_frames=4, image_size=16)


def with_settings(loaded: LoadedModel, **changed: object) -> LoadedModel:
    loaded.config = type(loaded.config)(**{**loaded.config.to_dict(), **changed})
    return loaded


@pytest.fixture
def loaded(data: TextToSignDataset, encoder: TextEncoder) -> LoadedModel:
    return loaded_with(Obedient(data, encoder), encoder)


def levels(low: float, high: float, mean: float = 1.0) -> dict[int, Denoising]:
    return {0: Denoising(10.0, low, low, mean, 0.05, 0.1), 40: Denoising(-20.0, high, high, mean, 0.9, 100.0)}


def test_a_control_fails_up_to_what_guessing_reaches() -> None:
    most = Score(0, 100, 0.1).chance_interval()[1]
    for correct in (0, 10, round(100 * most)):
        assert control("c", "m", "p", Score(correct, 100, 0.1))["failed"]
    assert not control("c", "m", "p", Score(round(100 * most) + 1, 100, 0.1))["failed"]


def test_errors_are_in_units_of_the_mean_clip_s_and_the_ideal_model_has_none(
    loaded: LoadedModel, data: TextToSignDataset, encoder: TextEncoder
) -> None:
    video = data.videos(ALL)
    spread = float((video - video.mean((0, 2), keepdim=True)).square().mean())
    for level in denoising(loaded, data, ALL).values():
        assert level.error < 1e-3 and level.mean_clip_error == pytest.approx(1.0, rel=1e-4)
        assert level.linear_error <= min(1.0, level.doing_nothing)
        assert level.doing_nothing == pytest.approx(10 ** (-level.snr_db / 10) / spread, rel=1e-4)
    grey = denoising(loaded_with(Blind(), encoder), data, ALL)
    assert all(level.error == pytest.approx(float(video.square().mean()) / spread, rel=1e-4) for level in grey.values())


def test_what_needs_no_network_is_measured_where_noise_is_added(loaded: LoadedModel, data: TextToSignDataset) -> None:
    t, before = next(iter(denoising(loaded, data, ALL).items()))
    loaded.model.clip_std.fill_(0.5)
    loaded.model.clip_mean.fill_(0.3)
    after = denoising(loaded, data, ALL)[t]
    assert after.mean_clip_error == pytest.approx(before.mean_clip_error, rel=1e-4)
    assert after.doing_nothing == pytest.approx(before.doing_nothing * 0.25, rel=1e-4)
    assert after.linear_error < before.linear_error


def test_a_trained_model_passes_with_its_initial_share(loaded: LoadedModel) -> None:
    assert refuse_untrained(loaded, levels(0.2, 1.0)) < 0.01


def test_averaged_weights_that_are_mostly_initial_are_refused(loaded: LoadedModel) -> None:
    loaded.step = 4370  # a published case: 0.9999 every 10 steps, no warm-up; with ours the share is smaller
    refuse_untrained(with_settings(loaded, EMA_DECAY=0.9999, EMA_EVERY=10), levels(0.2, 1.0))
    loaded.step = 9
    with pytest.raises(UntrainedError, match="at step 9: its averaged weights are still 100% initial"):
        refuse_untrained(loaded, levels(0.2, 1.0))


@pytest.mark.parametrize("high", [1.06, 40.0, float("nan"), float("inf")])
def test_a_model_that_knows_less_than_the_mean_where_sampling_begins_is_refused(
    loaded: LoadedModel, high: float
) -> None:
    with pytest.raises(UntrainedError, match="at t=40, where sampling begins"):
        refuse_untrained(loaded, levels(0.2, high))


def test_a_model_that_knows_only_the_mean_is_refused(loaded: LoadedModel) -> None:
    with pytest.raises(UntrainedError, match="has learnt nothing yet: its error is 0.96 at best"):
        refuse_untrained(loaded, levels(0.96, 1.0))


def test_redealt_captions_share_no_sign_at_any_place() -> None:
    captions = ["spell a b", "spell a c", "spell b a", "spell d d"] * 3
    for own, other in zip(captions, redealt(captions, captions, seed=1), strict=True):
        assert all(a != b for a, b in zip(own.split()[1:], other.split()[1:], strict=True))
    assert redealt(captions, captions, seed=1) == redealt(captions, captions, seed=1)
    assert redealt(["a", "b"], ["a", "b"], seed=0) == ["b", "a"]


def test_a_caption_that_no_other_differs_from_is_not_dealt_anew() -> None:
    same = ["letter A in American Sign Language", "letter A in German Sign Language"]
    assert redealt(same, same, seed=0) == [None, None]
    assert redealt(same[:1], [*same, "letter B in German Sign Language"], seed=0) == [
        "letter B in German Sign Language"
    ]
    assert redealt(["spell a b"], ["spell a b", "c", "spell a c"], seed=0) == [None]


def test_nothing_here_moves_the_global_generator(loaded: LoadedModel, data: TextToSignDataset) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    denoising(loaded, data, ALL)
    redealt(["a", "b"], ["a", "b"], seed=0)
    assert torch.equal(torch.get_rng_state(), before)
