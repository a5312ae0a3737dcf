"""utils/captions.py: captions of every kind, and that those which we write are read back."""

from __future__ import annotations

import itertools
import unicodedata
from collections import defaultdict

import numpy as np
import pytest

from utils.captions import (
    HOLD,
    LANGUAGES,
    Asked,
    asked,
    contests,
    letter_caption,
    letter_name,
    letter_spans,
    letter_times,
    short_titles,
    word_caption,
)
from utils.fingerspelling.lexicon import lexicon_folder, read_index
from utils.fingerspelling.words import normalise, spelled_word


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
        (
            "spell o with diaeresis, l",
            Asked(("letter O with diaeresis", "letter L"), "spelled with 2 letters"),
        ),
        ("spell dotless i", Asked(("letter I",), "spelled with 1 letters")),
        (
            "spell Cyrillic zhe a in Ukrainian Sign Language",
            Asked(("Cyrillic letter Zhe", "Cyrillic letter A"), "spelled with 2 letters in Ukrainian Sign Language"),
        ),
        ("spell", Asked(("spell",), "")),
        ("spell check it", Asked(("spell check it",), "")),
        ("in Spanish Sign Language", Asked(("in Spanish Sign Language",), "")),
    ],
)
def test_a_caption_asks_for_its_signs_in_order(text: str, found: Asked) -> None:
    assert asked(text) == found


def alphabet(language: str) -> list[str]:
    """The lexicon's letters of a language, those of several characters among them."""
    return [entry.letter for entry in read_index(lexicon_folder()) if entry.language == language]


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_every_letter_of_the_lexicon_is_read_back(language: str) -> None:
    for letter in alphabet(language):
        found = asked(letter_caption(letter, language))
        assert found == Asked((letter_name(letter),), f"{LANGUAGES[language]} Sign Language")


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_every_spelled_word_is_read_as_the_letters_it_was_written_from_and_written_again(language: str) -> None:
    """Alone, in all pairs and in words, with the language told and without: what is read are the signs of letters."""
    letters = {letter_name(letter): normalise(letter, language) for letter in alphabet(language) if len(letter) == 1}
    signs = list(letters)
    words = [
        *itertools.product(signs),
        *itertools.product(signs, repeat=2),
        *zip(signs[:-2], signs[1:-1], signs[2:], strict=True),
    ]
    words += [tuple(signs), tuple(reversed(signs))]
    for word, named in itertools.product(words, (False, True)):
        caption = spelled_word(language, "".join(letters[sign] for sign in word), (), named=named).caption
        found = asked(caption)
        assert found.signs == word, caption
        assert found.surroundings == f"spelled with {len(word)} letters" + (
            f" in {LANGUAGES[language]} Sign Language" if named else ""
        )
        again = spelled_word(language, "".join(letters[sign] for sign in found.signs), (), named=named)
        assert again.caption == caption


def test_letters_of_another_script_or_of_several_are_not_spelled() -> None:
    for letters in ("aж", "א", "a1"):
        with pytest.raises(ValueError, match="is not spelled in one script; wanted one of Latin, Arabic"):
            word_caption(letters)


def test_a_contest_is_among_captions_of_the_same_surroundings() -> None:
    spanish, german = letter_caption("A", "ssp"), letter_caption("A", "gsg")
    more = [letter_caption("B", "ssp"), "spell a b", "spell b a", "spell a b c", "hello"]
    found = contests([spanish, german, *more], [spanish, "spell a b", "hello", "bye"])
    assert found == [
        [spanish, letter_caption("B", "ssp")],
        ["spell a b", "spell b a"],
        ["bye", "hello"],
        ["bye", "hello"],
    ]


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


def as_a_tokenizer_sees_it(text: str) -> str:
    """Lower case without accents, as uncased BERT vocabularies normalise."""
    decomposed = unicodedata.normalize("NFD", text.lower())
    return "".join(c for c in decomposed if unicodedata.category(c) != "Mn")


@pytest.mark.parametrize(
    ("letter", "name"),
    [
        ("A", "letter A"),
        ("Ö", "letter O with diaeresis"),
        ("ö", "letter O with diaeresis"),
        ("ẞ", "letter sharp S"),
        ("ß", "letter sharp S"),
        ("İ", "letter I with dot above"),
        ("Đ", "letter D with stroke"),
        ("bb", "double B"),
        ("Ll", "double L"),
        ("ÖÖ", "double O with diaeresis"),
        ("Ch", "digraph C H"),
        ("SCH", "trigraph S C H"),
        ("Dž", "digraph D Z with caron"),
        ("Α", "Greek letter Alpha"),
        ("Ж", "Cyrillic letter Zhe"),
        ("ب", "Arabic letter Beh"),
        ("لا", "Arabic digraph Lam Alef"),
        ("ئـ", "Arabic letter Yeh with hamza above joined to the next"),
    ],
)
def test_letters_are_spelled_out_in_english(letter: str, name: str):
    assert letter_name(letter) == name


def test_a_caption_names_the_language():
    assert letter_caption("A", "ase") == "letter A in American Sign Language"
    assert letter_caption("CH", "ssp") == "digraph C H in Spanish Sign Language"


def test_every_caption_of_a_language_stays_distinct_without_case_and_accents():
    seen = defaultdict(set)
    index = read_index(lexicon_folder())
    for entry in index:
        seen[entry.language].add(as_a_tokenizer_sees_it(entry.clip.caption))
    assert sum(map(len, seen.values())) == len(index) == 626
    assert all(text.isascii() for texts in seen.values() for text in texts)


def test_every_language_of_the_lexicon_has_a_name():
    assert {entry.language for entry in read_index(lexicon_folder())} == set(LANGUAGES)
    assert len(set(LANGUAGES.values())) == len(LANGUAGES) == 20


def test_a_letters_frames_lie_evenly_around_the_middle_of_its_share():
    for num_letters, num_frames in itertools.product(range(1, 9), range(2, 65)):
        if num_frames < 2 * num_letters:
            continue
        spans = letter_spans(num_letters, num_frames)
        times = letter_times(num_frames, num_letters)
        assert len(spans) == num_letters and all(span.stop > span.start for span in spans)
        assert all(a.stop <= b.start for a, b in itertools.pairwise(spans))
        for letter, span in enumerate(spans):
            off = times[span].mean() - (letter + 0.5)
            assert abs(off) <= 0.5 * num_letters / num_frames + 1e-9  # half a frame
            assert (np.abs(times[span] - letter - 0.5) <= HOLD / 2 + 1e-9).all()


def test_spans_of_the_usual_sizes():
    assert letter_spans(3, 16) == [slice(1, 4), slice(6, 10), slice(12, 15)]
    assert letter_spans(4, 16) == [slice(1, 3), slice(5, 7), slice(9, 11), slice(13, 15)]
    with pytest.raises(ValueError, match="5 frames cannot show 3 letters"):
        letter_spans(3, 5)
