"""Lists of words -> spelled words as GIF + TXT pairs, ``OUTPUT/ase_words/ase_CAB.gif`` with "spell c a b".

Words are checked against the lexicon before anything is drawn. How letters become a word is
``utils/fingerspelling/joining.py``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from functools import partial
from pathlib import Path

import numpy as np

from config import ConfigError
from utils.captions import LANGUAGES, letter_times, word_caption
from utils.fingerspelling.drawing import Square, crop_square, draw_clip
from utils.fingerspelling.folder import Clip, LexiconReport, Look, render_clips
from utils.fingerspelling.joining import Hold, hold_of, place_holds, word_points
from utils.fingerspelling.lexicon import (
    AS_IT_IS,
    Entry,
    file_stem,
    lexicon_folder,
    read_index,
    read_points,
    select_entries,
    trimmed,
)
from utils.fingerspelling.variation import Variation, vary, vary_square
from utils.lines import read_lines

SQUARE_TIMES = 32  # moments of each letter that the picture's square is chosen by


def spelled_word(language: str, word: str, sources: tuple[str, ...], *, named: bool = False) -> Clip:
    """A word of a language, as ``normalise`` gives it, and the lexicon's files of its letters.

    Its files are named ``ase_CAB``, letters beyond A-Z by their names, ``gsg_O-with-diaeresis_L``; they lie beside the
    letters' folder, so that neither is trained on with the other by chance. ``named``: the caption tells the language.
    """
    letters = word.replace("i", "İ") if language == "tsm" else word  # "i" is the name of I alone
    names = [word.upper()] if word.isascii() else [file_stem(letter, language).split("_", 1)[1] for letter in word]
    caption = word_caption(letters, language if named else None)
    return Clip(f"{language}_words", "_".join([language, *names]), caption, sources)


def normalise(word: str, language: str) -> str:
    """One form of what is spelled alike: composed, without case, which in Turkish tells I from İ."""
    word = unicodedata.normalize("NFC", word.strip())
    if language == "tsm":
        word = word.replace("I", "ı").replace("İ", "i")
    return word.lower().replace("ς", "σ")


def read_words(path: Path, language: str) -> dict[str, int]:
    """Word -> line number, of a UTF-8 file with one word a line; words are as ``normalise`` gives them.

    Raises:
        ConfigError: as ``read_lines``, or one is there twice.
    """
    words: dict[str, int] = {}
    for number, line in read_lines(str(path), name=str(path), what="word", example="cab"):
        word = normalise(line, language)
        if word in words:
            raise ConfigError(f"{path}, line {number}: {word!r} is on line {words[word]} already; delete one of them.")
        words[word] = number
    return words


def select_words(
    path: Path, index: list[Entry], languages: list[str], *, num_frames: int
) -> tuple[list[Clip], list[tuple[str, str]]]:
    """The words of the file at ``path`` in every asked language, checked; (name, reason) of languages that repeat one.

    Raises:
        ConfigError: as ``read_words``; a letter that a language lacks; more letters than half of ``num_frames``.
        LexiconError: as ``select_entries``.
    """
    entries = select_entries(index, languages)[0]
    chosen = [code for code in dict.fromkeys(languages) if any(entry.language == code for entry in entries)]
    found: list[Clip] = []
    for code in chosen:
        own = [entry for entry in entries if entry.language == code and len(entry.letter) == 1]
        sources = {normalise(entry.letter, code): entry.source for entry in own}
        for word, number in read_words(path, code).items():
            _check_word(word, sources, code, num_frames=num_frames, where=f"{path}, line {number}")
            files = tuple(sources[letter] for letter in word)
            found.append(spelled_word(code, word, files, named=len(chosen) > 1))
    repeats = [(f"{code}_words", "its letters repeat another language's files") for code in languages]
    return found, [row for row in dict.fromkeys(repeats) if row[0].split("_")[0] not in chosen]


def _check_word(word: str, letters: Collection[str], language: str, *, num_frames: int, where: str) -> None:
    for letter in word:
        if letter not in letters:
            what = f"the lexicon of {LANGUAGES[language]} Sign Language has no letter {letter!r}"
            raise ConfigError(f"{where}: {word!r}: {what}; wanted some of: {' '.join(sorted(letters))}.")
    if 2 * len(word) > num_frames:
        wanted = f"{num_frames} frames show at most {num_frames // 2}"
        raise ConfigError(f"{where}: {word!r} has {len(word)} letters; {wanted}. Raise NUM_FRAMES or delete the word.")


def render_words(output: Path, path: Path, *, look: Look, languages: list[str]) -> LexiconReport:
    """Renders the words listed in the file at ``path`` into ``output/LANGUAGE_words/``, as ``render_lexicon`` letters.

    Raises:
        ConfigError, LexiconError: as ``select_words``, before anything is drawn.
        VideoError: a file cannot be written.
    """
    folder = lexicon_folder()
    words, skipped = select_words(path, read_index(folder), languages, num_frames=look.num_frames)
    return render_clips(output, words, partial(draw_word, folder=folder), look=look, skipped=skipped)


def draw_word(word: Clip, look: Look, variation: Variation, *, folder: Path) -> np.ndarray:
    """A word from the lexicon in ``folder`` -> (look.num_frames, look.image_size, look.image_size, 3) uint8.

    Letters are held in the frames that ``letter_spans`` names, in copies too: these are cut at the same moments. One
    square shows all that the hands do in the word.

    Raises:
        PoseError: a letter's file cannot be read, or shows no hand in most frames.
    """
    holds = {source: hold_of(trimmed(read_points(folder / source))) for source in set(word.sources)}
    placed = place_holds(word.sources, holds)
    points = vary(word_points(placed, letter_times(look.num_frames, len(placed))), variation)
    return draw_clip(points, look.image_size, square=word_square(placed, variation))


def word_square(placed: list[Hold], variation: Variation = AS_IT_IS) -> Square:
    """The square of a word's copy: around all that its hands do, however many frames are taken of it."""
    times = letter_times(SQUARE_TIMES * len(placed), len(placed))
    return vary_square(crop_square(vary(word_points(placed, times), variation), ends=0.0), variation)
