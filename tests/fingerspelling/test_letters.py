"""utils/fingerspelling/letters.py: captions and file names of the whole lexicon."""

from __future__ import annotations

import unicodedata
from collections import defaultdict

import pytest

from utils.fingerspelling.letters import LANGUAGES, caption, file_stem, letter_name
from utils.fingerspelling.lexicon import lexicon_folder, read_index


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
    assert caption("A", "ase") == "letter A in American Sign Language"
    assert caption("CH", "ssp") == "digraph C H in Spanish Sign Language"


@pytest.mark.parametrize(
    ("letter", "language", "stem"),
    [("A", "ase", "ase_A"), ("bb", "ise", "ise_BB"), ("Ö", "gsg", "gsg_O-with-diaeresis"), ("Ж", "ukl", "ukl_Zhe")],
)
def test_file_names_are_spelled_out_in_ascii(letter: str, language: str, stem: str):
    assert file_stem(letter, language) == stem


def test_every_caption_of_a_language_stays_distinct_without_case_and_accents():
    seen = defaultdict(set)
    index = read_index(lexicon_folder())
    for entry in index:
        seen[entry.language].add(as_a_tokenizer_sees_it(entry.caption))
    assert sum(map(len, seen.values())) == len(index) == 626
    assert all(text.isascii() for texts in seen.values() for text in texts)


def test_every_file_name_is_ascii_and_distinct_even_where_disks_ignore_case():
    index = read_index(lexicon_folder())
    stems = [entry.stem for entry in index]
    assert len({stem.lower() for stem in stems}) == len(index)
    assert all(stem.isascii() and stem.replace("-", "").replace("_", "").isalnum() for stem in stems)


def test_every_language_of_the_lexicon_has_a_name():
    assert {entry.language for entry in read_index(lexicon_folder())} == set(LANGUAGES)
    assert len(set(LANGUAGES.values())) == len(LANGUAGES) == 20
