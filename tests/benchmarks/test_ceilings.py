"""What nearest neighbours know of a letter in another language."""

from __future__ import annotations

import numpy as np

from benchmarks.ceilings import not_farther


def test_a_row_is_held_against_the_nearest_of_every_letter_in_other_languages_alone() -> None:
    letters, languages = list("ABCABC"), ["xx"] * 3 + ["yy"] * 3
    features = np.array([[0.0], [1.0], [2.0], [0.1], [2.1], [1.0]])  # yy swaps B and C; xx itself is far nearer
    assert not_farther(features, letters, languages) == ([0, 2, 1, 0, 1, 2], 2)


def test_a_tie_is_no_win() -> None:
    assert not_farther(np.zeros((4, 2)), list("ABAB"), ["xx", "xx", "yy", "yy"]) == ([1, 1, 1, 1], 1)
