"""Letters of fingerspelling alphabets -> capitals, English names, captions and ASCII file names. Standard library only.

A tokenizer without cases strips accents, so "letter Ö" and "letter O" would be one prompt for two clips. Everything
beyond A-Z is therefore spelled out from its Unicode name.
"""

from __future__ import annotations

import re
import unicodedata

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
TATWEEL = "\u0640"  # the Arabic stroke that joins a letter to the next one
UNICODE_NAME = re.compile(r"(?P<script>[A-Z]+) (?:CAPITAL |SMALL )?LETTER (?P<letter>.+)")


def capital(letter: str) -> str:
    """The capital form, one letter for one: Python's of "ß" would be "SS"."""
    return letter.replace("ß", "ẞ").upper()


def caption(letter: str, language: str) -> str:
    """A clip's prompt, such as "letter A in American Sign Language"; ``language`` is a key of LANGUAGES."""
    return f"{letter_name(letter)} in {LANGUAGES[language]} Sign Language"


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


def spoken_letter(letter: str) -> str:
    """One letter inside a spelled word's caption: "c", "o with diaeresis", "zhe"; distinct within a language."""
    name = letter_name(letter)
    return name.split("letter ", 1)[-1].lower()


def file_stem(letter: str, language: str) -> str:
    """ASCII name of a clip's files, such as ``ase_A``, ``ssp_CH`` or ``gsg_O-with-diaeresis``."""
    if letter.isascii() and letter.isalnum():
        return f"{language}_{letter.upper()}"
    words = [word for word in letter_name(letter).split() if word not in ("letter", "Arabic", "Cyrillic", "Greek")]
    return f"{language}_{'-'.join(words)}"


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
