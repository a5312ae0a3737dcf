"""Which sentences: those of a file, or drawn so that every sign stands in every place equally often.

Drawn signs stand in a circle, in an order that the seed decides. A sentence is a start and a step to each next sign,
and all starts with the same steps hold every sign once in every place: whole rounds are even, and a part of one is even
up to one. Pairs are held out as steps are: a step is as many pairs as signs, each of these once first and once second.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

from config import ConfigError
from utils.lines import read_lines
from utils.runtime import derive_seed

TRAIN, TEST = "train", "test"  # as a table's column split has them
MAX_LENGTH = 8  # signs of a drawn sentence


class Sentence(NamedTuple):
    """Its ``signs`` in order; ``split`` is empty where no pairs are held out."""

    signs: tuple[str, ...]
    split: str = ""


def draw_sentences(
    signs: Collection[str], number: int, *, lengths: Sequence[int], held_out_pairs: float = 0.0, seed: int = 0
) -> list[Sentence]:
    """``number`` distinct sentences, evenly of each of ``lengths``, no sign twice in one: a function of all of these.

    ``held_out_pairs``: the share of the ordered pairs that stand side by side in no sentence for training. As large a
    share of the sentences, as far as there are such, is for test, and of held-out pairs alone.

    Raises:
        ConfigError: more or longer sentences than there are.
    """
    if not 1 <= min(lengths) <= max(lengths) <= min(MAX_LENGTH, len(signs)) or number < len(lengths):
        asked_for = f"{number} sentences of {' and '.join(map(str, lengths))} signs"
        most = min(MAX_LENGTH, len(signs))
        raise ConfigError(f"{asked_for}, and {len(signs)} signs; wanted 1 to {most} in a sentence, and one of each.")
    draw, names = random.Random(derive_seed(seed, "circle of signs")), sorted(signs)
    draw.shuffle(names)
    steps = draw.sample(range(1, len(names)), len(names) - 1)
    num_held = min(max(1, round(held_out_pairs * len(steps))), len(steps) - 1) if held_out_pairs else 0
    found: list[Sentence] = []
    for nth, length in enumerate(lengths):
        wanted = number // len(lengths) + (nth < number % len(lengths))
        num_test = max(1, round(held_out_pairs * wanted)) if num_held and length > 1 else 0
        test = _draw(names, steps[:num_held], length, num_test, seed=derive_seed(seed, TEST, length))
        train = _draw(names, steps[num_held:], length, wanted - len(test), seed=derive_seed(seed, TRAIN, length))
        if len(train) + len(test) < wanted:
            there = f"{len(names)} signs give {len(train) + len(test)}"
            raise ConfigError(f"{wanted} sentences of {length} signs are asked for; {there}. Ask for fewer.")
        found += [Sentence(one, TRAIN if num_held else "") for one in train] + [Sentence(one, TEST) for one in test]
    return found


def _draw(names: list[str], steps: list[int], length: int, number: int, *, seed: int) -> list[tuple[str, ...]]:
    """At most ``number`` sentences whose every step is one of ``steps``, in whole rounds but for the last."""
    draw, found, total = random.Random(seed), [], len(steps) ** (length - 1)
    for way in draw.sample(range(total), min(total, 1000 + 100 * number)):
        if len(found) == number:
            break
        own = [steps[way // len(steps) ** nth % len(steps)] for nth in range(length - 1)]
        offsets = [offset % len(names) for offset in accumulate(own, initial=0)]
        if len(set(offsets)) == length:
            starts = draw.sample(range(len(names)), min(len(names), number - len(found)))
            found += [tuple(names[(start + offset) % len(names)] for offset in offsets) for start in starts]
    return found


def read_sentences(signs: Collection[str], path: Path, *, held_out_pairs: float = 0.0, seed: int = 0) -> list[Sentence]:
    """The sentences of the UTF-8 file at ``path``, one a line, of the ``signs`` that there are; as ``parse`` says.

    ``held_out_pairs``: that share of the pairs that stand side by side in the file is drawn; sentences with one of them
    are for test.

    Raises:
        ConfigError: as ``read_lines`` and ``parse``; a sentence that is there twice; none is left for training.
    """
    lines: dict[tuple[str, ...], int] = {}
    for number, text in read_lines(str(path), name=str(path), what="sentence", example="again ask beautiful"):
        sentence = parse(text, signs, place=f"{path}, line {number}")
        if sentence in lines:
            raise ConfigError(f"{path}, line {number}: {text!r} is on line {lines[sentence]}; delete one of them.")
        lines[sentence] = number
    if not held_out_pairs:
        return [Sentence(sentence) for sentence in lines]
    pairs = sorted({pair for sentence in lines for pair in pairwise(sentence)})
    num_held = min(len(pairs), max(1, round(held_out_pairs * len(pairs))))
    held = set(random.Random(derive_seed(seed, "held-out pairs")).sample(pairs, num_held))
    found = [Sentence(one, TRAIN if held.isdisjoint(pairwise(one)) else TEST) for one in lines]
    if all(sentence.split == TEST for sentence in found):
        raise ConfigError(f"{path}: every sentence has one of {num_held} held-out pairs; hold out fewer, or add some.")
    return found


def parse(text: str, signs: Collection[str], *, place: str) -> tuple[str, ...]:
    """The signs that a sentence names, whatever the case: between commas, or else each as many words as name one.

    Raises:
        ConfigError: what is no sign; begins with ``place``.
    """
    found: list[str] = []
    for part in text.lower().split(",") if "," in text else [text.lower()]:
        words = part.split()
        while words:
            ends = range(len(words), 0, -1) if "," not in text else [len(words)]
            end = next((end for end in ends if " ".join(words[:end]) in signs), 0)
            if not end:
                known = ", ".join(sorted(signs)[:8])
                wrong = " ".join(words) if "," in text else words[0]
                raise ConfigError(f"{place}: {wrong!r} is none of the {len(signs)} signs; wanted such as {known}.")
            found.append(" ".join(words[:end]))
            words = words[end:]
    return tuple(found)
