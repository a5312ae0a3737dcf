"""utils/captions.py: captions of every kind, and that those which we write are read back."""

from __future__ import annotations

import string

import pytest

from utils.captions import Asked, asked, contests, short_titles
from utils.fingerspelling.letters import LANGUAGES, caption, letter_name


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("hello", Asked(("hello",), "")),
        ("where is the station", Asked(("where is the station",), "")),
        ("letter A in Spanish Sign Language", Asked(("letter A",), "Spanish Sign Language")),
        ("O with diaeresis in Swiss-German Sign Language", Asked(("O with diaeresis",), "Swiss-German Sign Language")),
        ("spell c a b", Asked(("letter C", "letter A", "letter B"), "spelled with 3 letters")),
        (
            "spell h i in German Sign Language",
            Asked(("letter H", "letter I"), "spelled with 2 letters in German Sign Language"),
        ),
        ("spell", Asked(("spell",), "")),
        ("spell check", Asked(("spell check",), "")),
        ("in Spanish Sign Language", Asked(("in Spanish Sign Language",), "")),
    ],
)
def test_a_caption_asks_for_its_signs_in_order(text: str, found: Asked) -> None:
    assert asked(text) == found


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_every_caption_of_the_lexicon_is_read_back(language: str) -> None:
    for letter in string.ascii_uppercase:
        found = asked(caption(letter, language))
        assert found == Asked((letter_name(letter),), f"{LANGUAGES[language]} Sign Language")


def test_a_contest_is_among_captions_of_the_same_surroundings() -> None:
    spanish, german = caption("A", "ssp"), caption("A", "gsg")
    more = [caption("B", "ssp"), "spell a b", "spell b a", "spell a b c", "hello"]
    found = contests([spanish, german, *more], [spanish, "spell a b", "hello", "bye"])
    assert found == [[spanish, caption("B", "ssp")], ["spell a b", "spell b a"], ["bye", "hello"], ["bye", "hello"]]


@pytest.mark.parametrize(
    ("captions", "titles"),
    [
        (["letter A in X", "letter B in X"], ["A", "B"]),
        (["hello", "no"], ["hello", "no"]),
        (["a b", "a b c"], ["b", "b c"]),
        (["x a x", "x x"], ["a x", "x"]),
        (["the end", "an end"], ["the", "an"]),
    ],
)
def test_titles_lose_what_all_captions_share(captions: list[str], titles: list[str]) -> None:
    assert short_titles(captions) == titles
