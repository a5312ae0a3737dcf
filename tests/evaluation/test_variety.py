"""methods/evaluation/likeness/variety.py: known spreads, and manifolds in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from methods.evaluation.likeness.variety import measure_variety, precision_and_recall, spread


def level(value: float) -> np.ndarray:
    return np.full((2, 4, 4, 3), value, dtype=np.uint8)


def test_the_spread_is_the_deviation_within_captions_whatever_lies_between_them() -> None:
    assert spread([level(100), level(110)], ["a", "a"]) == pytest.approx(np.std([100, 110], ddof=1))
    clips, captions = [level(0), level(10), level(200), level(200)], ["a", "a", "b", "b"]
    assert spread(clips, captions) == pytest.approx(5.0)  # root of the mean of 50 and 0
    many = np.random.default_rng(0).normal(128, 20, (400, 2, 4, 4, 3)).round()
    for number in (2, 4, 20):  # unbiased by the number of clips
        names = [str(i // number) for i in range(400)]
        assert spread(list(many), names) == pytest.approx(20, rel=0.02)


def test_points_of_one_law_cover_each_other_and_points_far_away_cover_nothing() -> None:
    real, made = np.random.default_rng(0).normal(size=(2, 200, 3))
    precision, recall = precision_and_recall(made, real)
    assert precision > 0.7 and recall > 0.7
    assert precision_and_recall(made + 100, real) == (0.0, 0.0)


def test_one_good_point_for_ever_is_precise_and_recalls_nothing() -> None:
    real = np.random.default_rng(0).normal(size=(50, 3))
    assert precision_and_recall(np.zeros((20, 3)), real) == (1.0, 0.0)


def test_a_radius_reaches_to_the_third_neighbour() -> None:
    real = np.array([[0.0], [1.0], [2.0], [4.0]])  # radii 4, 3, 2, 4
    inside, outside = np.array([[7.9], [-3.9]]), np.array([[8.1], [-4.1]])
    assert precision_and_recall(inside, real)[0] == 1.0 and precision_and_recall(outside, real)[0] == 0.0


def test_only_captions_with_several_clips_count_and_the_ratio_tells_one_clip_for_ever() -> None:
    real, texts = [level(100), level(120), level(9)], ["a", "a", "b"]
    made, captions = [level(110), level(0), level(110), level(250)], ["a", "b", "a", "b"]
    features = np.array([[each.flat[0]] for each in made]), np.array([[each.flat[0]] for each in real])
    found = measure_variety(made, captions, real, texts, features=features)
    assert found["num_captions"] == 1 and found["ratio"] == found["recall"] == 0.0 and found["precision"] == 1.0
    same = measure_variety(real[:2], ["a", "a"], real, texts, features=(features[1][:2], features[1]))
    assert same["ratio"] == same["precision"] == same["recall"] == 1.0
    assert measure_variety(made, captions, real[1:], texts[1:], features=features) is None
