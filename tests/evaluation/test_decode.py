"""methods/evaluation/reading/decode.py: readings that can be worked out by hand, and edit distances."""

from __future__ import annotations

from functools import cache
from itertools import combinations

import numpy as np
import pytest

from methods.evaluation.reading.decode import Window, best_reading, word_errors


def test_two_windows_that_are_sure_are_read_and_what_lies_between_is_a_gap() -> None:
    scores = {Window(0, 3): -0.1, Window(4, 7): -0.1, Window(1, 6): -0.6, Window(3, 5): -2.0}
    assert best_reading(scores, 7, gap=-0.5, sign=0.0) == [Window(0, 3), Window(4, 7)]
    assert best_reading(scores, 7, gap=-0.5, sign=-9.0) == []
    assert best_reading({}, 5) == []


def test_a_sign_s_cost_decides_whether_one_window_is_read_or_its_halves() -> None:
    scores = {Window(0, 2): -0.1, Window(2, 4): -0.1, Window(0, 4): -0.2}
    assert best_reading(scores, 4, sign=-0.3) == [Window(0, 2), Window(2, 4)]
    assert best_reading(scores, 4, sign=-0.5) == [Window(0, 4)]


@pytest.mark.parametrize("seed", range(5))
def test_no_set_of_windows_that_do_not_overlap_has_a_larger_sum(seed: int) -> None:
    draw = np.random.default_rng(seed)
    windows = [Window(start, end) for start in range(7) for end in range(start + 2, min(start + 5, 8))]
    scores = {windows[i]: float(-draw.exponential()) for i in draw.choice(len(windows), 9, replace=False)}

    def value(chosen: tuple[Window, ...]) -> float:
        covered = sum(w.end - w.start for w in chosen)
        return sum(scores[w] * (w.end - w.start) - 0.3 for w in chosen) - 0.7 * (7 - covered)

    sets = (chosen for n in range(4) for chosen in combinations(sorted(scores), n))
    apart = [c for c in sets if all(a.end <= b.start for a, b in zip(c, c[1:], strict=False))]
    found = tuple(best_reading(scores, 7, gap=-0.7, sign=-0.3))
    assert value(found) == pytest.approx(max(map(value, apart)))


@pytest.mark.parametrize(
    ("found", "wanted", "errors"),
    [
        ("again ask", "again ask", 0),
        ("ask again", "again ask", 2),
        ("again", "again ask", 1),
        ("again ask home", "again ask", 1),
        ("home ask", "again ask", 1),
        ("", "again ask", 2),
        ("b c d", "a b c", 2),
    ],
)
def test_word_errors_are_the_fewest_changes(found: str, wanted: str, errors: int) -> None:
    assert word_errors(found.split(), wanted.split()) == word_errors(wanted.split(), found.split()) == errors


@pytest.mark.parametrize("seed", range(5))
def test_word_errors_agree_with_the_recursive_definition(seed: int) -> None:
    draw = np.random.default_rng(seed)
    a, b = (draw.choice(list("xyz"), draw.integers(0, 7)).tolist() for _ in range(2))

    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    assert word_errors(a, b) == distance(len(a), len(b))
