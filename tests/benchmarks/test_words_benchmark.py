"""benchmarks/words.py: random words, balanced, and a function of their seed."""

from __future__ import annotations

import string
from collections import Counter
from itertools import pairwise

import pytest

from benchmarks.words import make_words

LETTERS = string.ascii_uppercase


@pytest.mark.parametrize(("num_words", "length"), [(200, 3), (100, 4), (26, 1), (300, 2)])
def test_random_words_use_each_letter_equally_often_everywhere_and_repeat_nothing(num_words: int, length: int):
    words = make_words(num_words, length, letters=LETTERS, seed=0)
    assert len(set(words)) == num_words and {len(word) for word in words} == {length}
    assert not any(a == b for word in words for a, b in pairwise(word))
    for at in range(length):
        counts = Counter(word[at] for word in words)
        assert set(counts.values()) <= {num_words // 26, -(-num_words // 26)}


def test_random_words_are_a_function_of_their_seed():
    words = [make_words(50, 3, letters=LETTERS, seed=seed) for seed in (0, 0, 1)]
    assert words[0] == words[1] != words[2]


def test_random_words_can_be_all_there_are():
    assert sorted(make_words(6, 2, letters="abc", seed=0)) == ["ab", "ac", "ba", "bc", "ca", "cb"]
    for wrong in ({"num_words": 7}, {"num_words": 0}, {"length": 0}, {"letters": "aab"}, {"letters": ""}):
        with pytest.raises(ValueError, match="wanted at least 1 of each|are asked for"):
            make_words(**{"num_words": 6, "length": 2, "letters": "abc", "seed": 0, **wrong})
