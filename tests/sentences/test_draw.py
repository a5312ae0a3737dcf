"""utils/sentences/draw.py: sentences that are even in every place, and pairs that no training sentence has."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from config import ConfigError
from utils.sentences.draw import Sentence, draw_sentences, parse, read_sentences

SIGNS = [f"sign {i}" for i in range(13)]


@pytest.mark.parametrize(("number", "lengths", "share"), [(60, [2], 0.0), (100, [2, 3], 0.1), (40, [4], 0.3)])
def test_every_sign_stands_in_every_place_equally_often_up_to_one(
    number: int, lengths: list[int], share: float
) -> None:
    sentences = draw_sentences(SIGNS, number, lengths=lengths, held_out_pairs=share, seed=3)
    assert len(sentences) == len({one.signs for one in sentences}) == number
    for length in lengths:
        for split in {one.split for one in sentences}:
            own = [one.signs for one in sentences if len(one.signs) == length and one.split == split]
            for place in zip(*own, strict=True):
                counts = Counter(place)
                assert max(counts.values()) - min(counts[sign] for sign in SIGNS) <= 1


def test_no_sign_is_twice_in_a_sentence_and_the_seed_decides_all() -> None:
    sentences = draw_sentences(SIGNS, 50, lengths=[5], seed=3)
    assert all(len(set(one.signs)) == 5 and one.split == "" for one in sentences)
    assert sentences == draw_sentences(SIGNS[::-1], 50, lengths=[5], seed=3)
    assert sentences != draw_sentences(SIGNS, 50, lengths=[5], seed=4)


def test_held_out_pairs_stand_in_no_sentence_for_training_and_alone_in_those_for_test() -> None:
    sentences = draw_sentences(SIGNS, 120, lengths=[2, 3], held_out_pairs=0.25, seed=0)
    pairs = {
        split: {pair for one in sentences if one.split == split for pair in pairwise(one.signs)}
        for split in ("train", "test")
    }
    assert pairs["train"].isdisjoint(pairs["test"]) and len(pairs["test"]) <= 0.25 * 13 * 12
    counts = Counter(one.split for one in sentences)
    assert counts == {"train": 90, "test": 30}


def test_all_pairs_can_be_asked_for_and_one_more_is_refused() -> None:
    assert len(draw_sentences(SIGNS, 13 * 12, lengths=[2], held_out_pairs=0.1)) == 13 * 12
    with pytest.raises(ConfigError, match="157 sentences of 2 signs are asked for; 13 signs give 156"):
        draw_sentences(SIGNS, 157, lengths=[2])
    with pytest.raises(ConfigError, match="1 to 8 in a sentence"):
        draw_sentences(SIGNS, 10, lengths=[9])


@pytest.mark.parametrize(
    ("text", "signs"),
    [
        ("Again thank you", ("again", "thank you")),
        ("thank again", ("thank", "again")),
        ("thank, you again, again", ("thank", "you again", "again")),
    ],
)
def test_a_line_names_the_longest_signs_or_those_between_commas(text: str, signs: tuple[str, ...]) -> None:
    assert parse(text, {"again", "thank", "thank you", "you again"}, place="here") == signs


def test_a_file_s_sentences_are_refused_by_their_line(tmp_path: Path) -> None:
    path = tmp_path / "sentences.txt"
    path.write_text("# mine\na b\n\na c\n")
    assert read_sentences({"a", "b", "c"}, path) == [Sentence(("a", "b")), Sentence(("a", "c"))]
    with pytest.raises(ConfigError, match=r"line 4: 'c' is none of the 2 signs; wanted such as a, b"):
        read_sentences({"a", "b"}, path)
    path.write_text("a b\nA  B\n")
    with pytest.raises(ConfigError, match="line 2: 'A B' is on line 1"):
        read_sentences({"a", "b"}, path)


def test_pairs_of_a_file_are_held_out_with_every_sentence_that_has_them(tmp_path: Path) -> None:
    path = tmp_path / "sentences.txt"
    path.write_text("a b c\nb a c\nc a b\nc b a\n")
    found = read_sentences({"a", "b", "c"}, path, held_out_pairs=0.2, seed=1)
    test = [set(pairwise(one.signs)) for one in found if one.split == "test"]
    held = set.intersection(*test)
    assert len(held) >= 1 and all(held.isdisjoint(pairwise(one.signs)) for one in found if one.split == "train")
    with pytest.raises(ConfigError, match="every sentence has one of"):
        read_sentences({"a", "b", "c"}, path, held_out_pairs=0.99)
