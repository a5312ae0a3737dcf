"""utils/fingerspelling/words.py: lists of words, checked; clips, written once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from config import ConfigError
from utils.captions import letter_times
from utils.fingerspelling import lexicon as fs
from utils.fingerspelling import words as sw
from utils.fingerspelling.folder import Look
from utils.fingerspelling.joining import hold_of, place_holds, word_points
from utils.fingerspelling.variation import Variation
from utils.reading.reader import read_frames

SMALL = Look(image_size=16, num_frames=8, fps=8)


def word_list(folder: Path, *lines: str) -> Path:
    path = folder / "words.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def render(tmp_path: Path, *lines: str, languages: tuple[str, ...] = ("ase",), **more: int) -> fs.LexiconReport:
    path = word_list(tmp_path, *lines)
    return sw.render_words(tmp_path / "out", path, look=replace(SMALL, **more), languages=list(languages))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_words_become_pairs_beside_the_letters_folder(tmp_path: Path):
    report = render(tmp_path, "# animals", "", "cab", "  Bee ")
    assert report.written == ("ase_CAB", "ase_BEE") and report.folders == ("ase_words",)
    frames = read_frames(tmp_path / "out" / "ase_words" / "ase_CAB.gif")
    assert frames.shape == (8, 16, 16, 3)
    assert (tmp_path / "out" / "ase_words" / "ase_BEE.txt").read_text() == "spell b e e\n"


def test_another_list_keeps_what_is_there_and_names_it(tmp_path: Path):
    render(tmp_path, "cab", "bee")
    before = contents(tmp_path / "out" / "ase_words")
    other = render(tmp_path, "dog")
    assert other.written == ("ase_DOG",) and other.left_over == ("ase_words/ase_BEE.gif", "ase_words/ase_CAB.gif")
    assert before.items() <= contents(tmp_path / "out" / "ase_words").items()


def test_several_languages_are_told_apart_by_their_captions(tmp_path: Path):
    report = render(tmp_path, "cab", languages=("ase", "gsg"))
    assert report.written == ("ase_CAB", "gsg_CAB") and report.folders == ("ase_words", "gsg_words")
    captions = [(tmp_path / "out" / f"{c}_words" / f"{c}_CAB.txt").read_text() for c in ("ase", "gsg")]
    assert captions == ["spell c a b in American Sign Language\n", "spell c a b in German Sign Language\n"]


def test_a_language_that_repeats_another_is_skipped_and_named(tmp_path: Path):
    report = render(tmp_path, "cab", languages=("ase", "fsl"))
    assert report.written == ("ase_CAB",)
    assert report.skipped == (("fsl_words", "its letters repeat another language's files"),)
    assert (tmp_path / "out" / "ase_words" / "ase_CAB.txt").read_text() == "spell c a b\n"


def test_copies_of_words_differ(tmp_path: Path):
    report = render(tmp_path, "cab", "dog", copies=1)
    assert report.written == ("ase_CAB", "ase_CAB__1", "ase_DOG", "ase_DOG__1")
    files = contents(tmp_path / "out" / "ase_words")
    assert files["ase_CAB.gif"] != files["ase_CAB__1.gif"] and files["ase_CAB.txt"] == files["ase_CAB__1.txt"]


@pytest.mark.parametrize(
    ("lines", "languages", "message"),
    [
        (
            ("cab", "", "tea1"),
            ("ase",),
            r"words\.txt, line 3: 'tea1': the lexicon of American .* no letter '1'; wanted",
        ),
        (("cab", "über"), ("gsg", "ase"), r"line 2: 'über': the lexicon of American Sign Language has no letter 'ü'"),
        (("cab", "two words"), ("ase",), r"line 2: 'two words': .* no letter ' '"),
        (("cab", "dog", "CAB"), ("ase",), r"line 3: 'cab' is on line 1 already"),
        (
            ("cab", "river"),
            ("ase",),
            r"line 2: 'river' has 5 letters; 8 frames show at most 4\. Raise NUM_FRAMES",
        ),
        (("# nothing", "  "), ("ase",), r"words\.txt holds no word; wanted one a line"),
    ],
)
def test_a_wrong_list_is_one_error_that_names_the_line_and_nothing_is_drawn(tmp_path: Path, lines, languages, message):
    with pytest.raises(ConfigError, match=message):
        render(tmp_path, *lines, languages=languages)
    assert not (tmp_path / "out").exists()


def test_a_list_that_cannot_be_read_is_one_error(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"none\.txt cannot be read \(No such file"):
        sw.read_words(tmp_path / "none.txt", "ase")
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory"):
        sw.read_words(tmp_path, "ase")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ConfigError, match=r"latin\.txt, line 1 is not UTF-8 at byte 4"):
        sw.read_words(tmp_path / "latin.txt", "ase")
    with pytest.raises(fs.LexiconError, match="no sign language 'English'"):
        render(tmp_path, "cab", languages=("English",))


def test_letters_beyond_a_to_z_have_names_of_their_own(tmp_path: Path):
    index = fs.read_index(fs.lexicon_folder())
    (word, plain), _ = sw.select_words(word_list(tmp_path, "öl", "ol"), index, ["gsg"], num_frames=16)
    assert (word.name, word.caption) == ("gsg_O-with-diaeresis_L", "spell o with diaeresis, l")
    assert (plain.name, plain.caption) == ("gsg_OL", "spell o l")
    (cyrillic,), _ = sw.select_words(word_list(tmp_path, "Жук"), index, ["ukl"], num_frames=16)
    assert (cyrillic.name, cyrillic.caption) == ("ukl_Zhe_U_Ka", "spell Cyrillic zhe u ka")
    (greek,), _ = sw.select_words(word_list(tmp_path, "νους"), index, ["gss"], num_frames=16)
    assert greek.caption == "spell Greek nu omicron upsilon sigma"


def test_turkish_keeps_its_two_letters_i_apart(tmp_path: Path):
    index = fs.read_index(fs.lexicon_folder())
    files = {entry.letter: entry.source for entry in index if entry.language == "tsm"}
    words, _ = sw.select_words(word_list(tmp_path, "KIL", "kil"), index, ["tsm"], num_frames=16)
    assert [word.sources[1] for word in words] == [files["I"], files["İ"]]
    assert len({word.name for word in words}) == 2
    with pytest.raises(ConfigError, match="line 2: 'kıl' is on line 1 already"):
        sw.read_words(word_list(tmp_path, "KIL", "kıl"), "tsm")


def test_every_single_letter_of_the_lexicon_has_a_caption_and_a_stem_of_its_own():
    index = fs.read_index(fs.lexicon_folder())
    for language in {entry.language for entry in index}:
        own = [e for e in fs.select_entries(index, [language])[0] if len(e.letter) == 1]
        letters = [sw.normalise(e.letter, language) for e in own]
        assert all(len(letter) == 1 for letter in letters)
        words = [sw.spelled_word(language, letter, ()) for letter in letters]
        for texts in ([w.caption for w in words], [w.name.lower() for w in words]):
            assert len(set(texts)) == len(texts) and all(text.isascii() for text in texts)


def test_the_picture_does_not_depend_on_how_many_frames_are_taken():
    folder = fs.lexicon_folder()
    sources = {entry.letter: entry.source for entry in fs.read_index(folder) if entry.language == "ase"}
    word = sw.spelled_word("ase", "cab", tuple(sources[c] for c in "CAB"))
    few, many = (sw.draw_word(word, Look(32, n, 8), Variation(), folder=folder) for n in (9, 27))
    np.testing.assert_array_equal(few, many[1::3])


@pytest.mark.parametrize(("language", "word"), [("ase", "JAZZ"), ("ase", "QUIP"), ("gsg", "JÄZZ")])
def test_hands_stay_in_the_picture_in_every_frame(language: str, word: str):
    folder = fs.lexicon_folder()
    files = {entry.letter.upper(): entry.source for entry in fs.read_index(folder) if entry.language == language}
    holds = {letter: hold_of(fs.trimmed(fs.read_points(folder / files[letter]))) for letter in word}
    placed = place_holds(word, holds)
    x0, y0, side = sw.word_square(placed)
    for num_frames in (8, 16, 61):
        hands = word_points(placed, letter_times(num_frames, len(word))).hands[1, ..., :2]
        assert (hands >= (x0, y0)).all() and (hands <= (x0 + side, y0 + side)).all()
