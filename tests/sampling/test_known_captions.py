"""methods/sampling/known_captions.py: how far a prompt lies from what was trained on."""

from __future__ import annotations

import itertools

import pytest
import torch

from methods.sampling import known_captions
from methods.sampling.known_captions import KnownCaptions, Nearest, Nearness, keep
from models.text_encoder import TextEncoder
from models.text_features import TextStandardiser
from tests.conftest import CAPTIONS


@pytest.fixture(scope="module")
def standardiser(encoder: TextEncoder) -> TextStandardiser:
    made = TextStandardiser(encoder.width, enabled=True)
    made.fit(encoder.batches(list(CAPTIONS)))
    return made


def test_distances_are_roots_of_mean_squares() -> None:
    features = torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 5.0]])
    found = KnownCaptions(["a", "b", "c"], features).own_distances
    torch.testing.assert_close(found, torch.tensor([12.5**0.5, 0.5**0.5, 0.5**0.5]))


def test_a_training_caption_is_at_no_distance_and_nonsense_is_far(
    encoder: TextEncoder, standardiser: TextStandardiser
) -> None:
    known = KnownCaptions.of(keep(encoder, standardiser, CAPTIONS))
    for near in known.nearness(encoder, standardiser, list(CAPTIONS)):
        assert near.nearest[0] == (near.prompt, 0.0) and not near.is_far
    (far,) = known.nearness(encoder, standardiser, ["the quarterly report of a steel mill"])
    assert far.is_far and "resembles nothing that was trained on" in str(far)
    distances = [distance for _, distance in far.nearest]
    assert distances == sorted(distances) and len(distances) == 3


def test_of_many_captions_some_are_kept_evenly(
    encoder: TextEncoder, standardiser: TextStandardiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_captions, "MOST", 4)
    kept = keep(encoder, standardiser, itertools.chain(CAPTIONS, CAPTIONS))
    assert kept["texts"] == sorted(CAPTIONS)[::2] and kept["features"].shape == (4, encoder.width)


def test_without_captions_nothing_is_known() -> None:
    assert KnownCaptions.of({}) is None


def test_a_prompt_as_far_as_the_loneliest_caption_is_not_far() -> None:
    assert not Nearness("a", [Nearest("b", 1.0)], 0.5, 1.0).is_far
    assert Nearness("a", [Nearest("b", 1.01)], 0.5, 1.0).is_far
