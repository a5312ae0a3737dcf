"""What a caption asks for: its signs in order, and the surroundings that it shares with other captions.

    "letter A in Spanish Sign Language"  ->  ("letter A",) in "Spanish Sign Language"
    "spell c a b"                        ->  ("letter C", "letter A", "letter B") in "spelled with 3 letters"
    "hello"                              ->  ("hello",) in ""

A prompt is ranked among captions of its own surroundings, and a recogniser names signs: so a letter of one language
that was never seen can still be named by what the others taught.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SPELLING = "spell"  # first word of a caption that spells; single letters follow
_LANGUAGE = re.compile(r"(?P<rest>.+) in (?P<language>\S.* Sign Language)")


@dataclass(frozen=True)
class Asked:
    """``signs`` in order; ``surroundings`` is what tells apart captions that cannot be confused with each other."""

    signs: tuple[str, ...]
    surroundings: str


def asked(caption: str) -> Asked:
    """What ``caption`` asks for; any caption asks for something, if only for itself."""
    match = _LANGUAGE.fullmatch(caption)
    rest, language = (match["rest"], match["language"]) if match else (caption, "")
    first, *letters = rest.split()
    if first == SPELLING and letters and all(len(letter) == 1 for letter in letters):
        surroundings = f"spelled with {len(letters)} letters"
        signs = tuple(f"letter {letter.upper()}" for letter in letters)
        return Asked(signs, f"{surroundings} in {language}" if language else surroundings)
    return Asked((rest,), language)


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
