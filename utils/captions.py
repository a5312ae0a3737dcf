"""Captions: those of letters and spelled words are written here, and any is read: its signs and its surroundings.

    "letter A in Spanish Sign Language"  ->  ("letter A",) in "Spanish Sign Language"
    "spell c a b"                        ->  ("letter C", "letter A", "letter B") in "spelled with 3 letters"
    "spell Cyrillic zhe a"               ->  ("Cyrillic letter Zhe", "Cyrillic letter A") in "spelled with 2 letters"
    "hello"                              ->  ("hello",) in ""

A prompt is ranked among captions of its own surroundings, and a recogniser names signs: so a letter of one language
that was never seen can still be named by what the others taught.
"""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SPELLING = "spell"  # first word of a caption that spells; the names of letters follow
HOLD = 2 / 3  # of a letter's share of a spelled word's clip
LANGUAGES = {  # ISO 639-3 code -> name; followed by "Sign Language"
    "ase": "American",
    "asq": "Austrian",
    "bzs": "Brazilian",
    "cse": "Czech",
    "csq": "Croatian",
    "eso": "Estonian",
    "fsl": "French",
    "gsg": "German",
    "gss": "Greek",
    "ise": "Italian",
    "jos": "Jordanian",
    "lls": "Lithuanian",
    "mfs": "Mexican",
    "psr": "Portuguese",
    "sgg": "Swiss-German",
    "ssp": "Spanish",
    "svk": "Slovakian",
    "swl": "Swedish",
    "tsm": "Turkish",
    "ukl": "Ukrainian",
}
SCRIPTS = ("Latin", "Arabic", "Cyrillic", "Greek")  # of the letters that are spelled
TATWEEL = "\u0640"  # the Arabic stroke that joins a letter to the next one
UNICODE_NAME = re.compile(r"(?P<script>[A-Z]+) (?:CAPITAL |SMALL )?LETTER (?P<letter>.+)")
_LANGUAGE = re.compile(r"(?P<rest>.+) in (?P<language>\S.* Sign Language)")


@dataclass(frozen=True)
class Asked:
    """``signs`` in order; ``surroundings`` is what tells apart captions that cannot be confused with each other."""

    signs: tuple[str, ...]
    surroundings: str


def letter_caption(letter: str, language: str) -> str:
    """A clip's prompt, such as "letter A in American Sign Language"; ``language`` is a key of LANGUAGES."""
    return f"{letter_name(letter)} in {LANGUAGES[language]} Sign Language"


def word_caption(letters: Sequence[str], language: str | None = None) -> str:
    """A spelled word's prompt: "spell c a b", "spell o with diaeresis, l", "spell Cyrillic zhe a".

    Commas stand where a letter's name has several words. A script other than Latin is told, for letters of several
    have one name. ``language`` is a key of LANGUAGES, None where the caption shall not tell it.

    Raises:
        ValueError: letters of several scripts, or of one that cannot be read back.
    """
    scripts, names = zip(*map(_character_name, letters), strict=True)
    if len(set(scripts)) > 1 or scripts[0] not in SCRIPTS:
        raise ValueError(f"{''.join(letters)!r} is not spelled in one script; wanted one of {', '.join(SCRIPTS)}")
    spoken = (", " if any(" " in name for name in names) else " ").join(names).lower()
    text = f"{SPELLING} {spoken}" if scripts[0] == "Latin" else f"{SPELLING} {scripts[0]} {spoken}"
    return f"{text} in {LANGUAGES[language]} Sign Language" if language else text


def asked(caption: str) -> Asked:
    """What ``caption`` asks for; any caption asks for something, if only for itself."""
    match = _LANGUAGE.fullmatch(caption)
    rest, language = (match["rest"], match["language"]) if match else (caption, "")
    letters = _spelled(rest.removeprefix(f"{SPELLING} ")) if rest.startswith(f"{SPELLING} ") else ()
    if not letters:
        return Asked((rest,), language)
    surroundings = f"spelled with {len(letters)} letters"
    return Asked(tuple(map(letter_name, letters)), f"{surroundings} in {language}" if language else surroundings)


def _spelled(text: str) -> tuple[str, ...]:
    """The letters that ``text``, a word's caption after its first word, names; none where it is no such caption."""
    first, _, rest = text.partition(" ")
    script, text = (first.capitalize(), rest) if first.capitalize() in SCRIPTS else ("Latin", text)
    for names in (text.split(",") if "," in text else text.split(), [text]):
        letters = tuple(_letter_of(name.strip(), script) for name in names)
        if letters and all(letters):
            return letters
    return ()


def _letter_of(name: str, script: str) -> str:
    """The inverse of ``_character_name``, whatever the case; empty where no letter has this name."""
    if script == "Latin" and len(name) == 1:
        return capital(name)
    for kind in ("CAPITAL LETTER", "SMALL LETTER", "LETTER"):
        with contextlib.suppress(KeyError):
            return capital(unicodedata.lookup(f"{script} {kind} {name}"))
    return ""


def contests(captions: list[str], asked_for: list[str]) -> list[list[str]]:
    """For each of ``asked_for`` the sorted distinct ``captions`` with its surroundings, itself among them."""
    groups: dict[str, set[str]] = {}
    for caption in (*captions, *asked_for):
        groups.setdefault(asked(caption).surroundings, set()).add(caption)
    return [sorted(groups[asked(caption).surroundings]) for caption in asked_for]


def short_titles(captions: list[str]) -> list[str]:
    """Captions without the words that all of them begin or end with: ``letter A in X`` -> ``A``."""
    words = [caption.split() for caption in captions]
    shortest = min(map(len, words)) - 1
    front = next((k for k in range(shortest) if len({w[k] for w in words}) > 1), shortest)
    back = next((k for k in range(shortest - front) if len({w[-1 - k] for w in words}) > 1), shortest - front)
    return [" ".join(w[front : len(w) - back]) for w in words]


def letter_times(num_frames: int, num_letters: int) -> np.ndarray:
    """(num_frames,) float64 in (0, num_letters): the moments of a word's frames, in letters, evenly over the clip."""
    return (np.arange(num_frames) + 0.5) * num_letters / num_frames


def letter_spans(num_letters: int, num_frames: int) -> list[slice]:
    """The frames in which each letter of a word is held, ``num_letters`` slices of a clip of ``num_frames``.

    None is empty, and each lies evenly around the middle of its letter's share.

    Raises:
        ValueError: fewer than two frames a letter, or no letter.
    """
    if num_letters < 1 or num_frames < 2 * num_letters:
        raise ValueError(f"{num_frames} frames cannot show {num_letters} letters; wanted two for each")
    times = letter_times(num_frames, num_letters)
    spans = []
    for letter in range(num_letters):
        own = np.flatnonzero(np.abs(times - letter - 0.5) <= HOLD / 2 + 1e-9)
        spans.append(slice(int(own[0]), int(own[-1]) + 1))
    return spans


def capital(letter: str) -> str:
    """The capital form, one letter for one: Python's of "ß" would be "SS"."""
    return letter.replace("ß", "ẞ").upper()


def letter_name(letter: str) -> str:
    """The letter in English words: "letter A", "double B", "digraph C H", "Cyrillic letter Zhe".

    Capital and small forms have the same name; letters with and without an accent have different ones.
    """
    joined = len(letter) > 1 and letter.endswith(TATWEEL)
    characters = letter.rstrip(TATWEEL) if joined else letter
    names = [_character_name(character) for character in characters]
    scripts = {script for script, _ in names}
    script = f"{scripts.pop()} " if len(scripts) == 1 and scripts != {"Latin"} else ""
    words = [word for _, word in names]
    if len(words) == 1:
        text = f"{script}letter {words[0]}"
    elif len(words) == 2 and words[0] == words[1]:
        text = f"{script}double {words[0]}"
    else:
        kind = {2: "digraph", 3: "trigraph"}.get(len(words), "letters")
        text = f"{script}{kind} {' '.join(words)}"
    return f"{text} joined to the next" if joined else text


def _character_name(character: str) -> tuple[str, str]:
    """("Latin", "O with diaeresis") of one character."""
    name = unicodedata.name(character, f"U+{ord(character):04X}")
    match = UNICODE_NAME.fullmatch(name)
    if match is None:
        return "", name.capitalize()
    base, joint, accents = match["letter"].partition(" WITH ")
    if base.startswith("SHARP "):
        base = base.replace("SHARP", "sharp")  # "sharp S"
    else:
        base = base.title()
    return match["script"].capitalize(), base + (joint + accents).lower()
