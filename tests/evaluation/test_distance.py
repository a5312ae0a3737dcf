"""methods/evaluation/distance.py: distances in closed form, answers counted sign by sign."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from methods.evaluation.distance import named_right, prompt_distance
from methods.evaluation.scores import Score


def flat(level: int) -> np.ndarray:
    return np.full((2, 4, 4, 3), level, dtype=np.uint8)


def test_distances_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    clips = [rng.integers(0, 256, (2, 4, 4, 3), dtype=np.uint8) for _ in range(6)]
    captions = ["a", "b", "c", "a", "b", "a"]
    between, within = [], []
    for i, j in itertools.combinations(range(6), 2):
        rms = float(np.sqrt(np.mean((clips[i].astype(float) - clips[j]) ** 2)))
        (within if captions[i] == captions[j] else between).append(rms)
    found = prompt_distance(clips, captions)
    assert found.between == pytest.approx(np.mean(between), rel=1e-4)
    assert found.within == pytest.approx(np.mean(within), rel=1e-4)


def test_a_model_that_ignores_its_prompt_has_the_ratio_one() -> None:
    rng = np.random.default_rng(1)
    noise = [rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8) for _ in range(40)]
    assert prompt_distance(noise, [str(i % 4) for i in range(40)]).ratio == pytest.approx(1, abs=0.01)


def test_a_model_that_ignores_its_noise_has_an_infinite_ratio_which_json_cannot_hold() -> None:
    found = prompt_distance([flat(0), flat(10), flat(0), flat(10)], ["a", "b", "a", "b"])
    assert (found.between, found.within, found.ratio) == (10, 0, float("inf")) and found.to_dict()["ratio"] is None


def test_one_clip_of_each_or_one_caption_has_no_ratio() -> None:
    assert prompt_distance([flat(0), flat(1)], ["a", "b"]) is None
    assert prompt_distance([flat(0), flat(1)], ["a", "a"]) is None


def test_letters_count_one_by_one_and_in_order() -> None:
    answers = [["letter A", "letter B", "letter C"], ["letter B", "letter A"], ["hello"]]
    captions = ["spell a b d", "spell a b", "hello"]
    assert named_right(answers, captions, num_signs=26) == Score(3, 6, 1 / 3)  # a and b are asked for twice


def test_always_the_same_sign_does_not_beat_guessing() -> None:
    found = named_right([["often"]] * 10, ["often"] * 9 + ["once"], num_signs=26)
    assert found.accuracy == pytest.approx(found.chance) == pytest.approx(0.9)


def test_an_answer_of_another_length_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="argument 2 is longer"):
        named_right([["letter A"]], ["spell a b"], num_signs=26)
