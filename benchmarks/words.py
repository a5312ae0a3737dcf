"""Spelled words that were never seen, made of letters that were.

    python -m benchmarks.words --prepare            # 1,000 words of three letters, 40 of them held out: a minute
    python main.py train --preset words             # 37 minutes on one CPU core
    python main.py evaluate --checkpoint checkpoints/words/latest_checkpoint.pt --max_clips 40
    python -m benchmarks.words                      # the scores, results/words.json

Each letter is as frequent at each of the three places, among all words. The score is letters named right, in order, by
a recogniser that was trained on the real clips of the other words.
"""

from __future__ import annotations

import argparse
import json
import string
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import ROOT, newest_report, run_command, write_result
from config import make_config
from utils.runtime import derive_seed, generator

NUM_WORDS, LENGTH, HELD_OUT = 1000, 3, 40
SEED = 0
TRIES_PER_WORD = 2000  # of exchanging letters, before making words gives up


def split_words() -> tuple[list[str], list[str]]:
    """(words to train on, held-out words), a function of SEED."""
    words = make_words(NUM_WORDS, LENGTH, letters=string.ascii_uppercase, seed=SEED)
    order = torch.randperm(len(words), generator=generator(SEED, "held-out words")).tolist()
    return sorted(words[i] for i in order[HELD_OUT:]), sorted(words[i] for i in order[:HELD_OUT])


def prepare(folder: Path) -> Path:
    """Render the words into ``folder`` and write the split; returns its file."""
    training, held_out = split_words()
    folder.mkdir(parents=True, exist_ok=True)
    listed = folder / "words.list"
    listed.write_text("\n".join(sorted((*training, *held_out))) + "\n")
    run_command(f"prepare-data --preset words --words {listed} --languages ase --output {folder}")
    path = folder / Path(make_config("words").SPLIT_FILE).name
    names = [f"ase_words/ase_{word.upper()}" for word in held_out]
    path.write_text(json.dumps({"seed": SEED, "held_out": names}, indent=1) + "\n")
    return path


def make_words(num_words: int, length: int, *, letters: str, seed: int) -> list[str]:
    """Random words, a pure function: none twice, each letter within one of equally often at each position.

    ``letters``: the alphabet, each once. No letter follows itself. Ask for well below all possible words: the
    last few cannot always be had with letters equally often.

    Raises:
        ValueError: a number below 1, a letter given twice, or more words than there are or can be found.
    """
    if num_words < 1 or length < 1 or len(set(letters)) != len(letters) or not letters:
        found = f"{num_words} words of {length} letters from {letters!r}"
        raise ValueError(f"{found}; wanted at least 1 of each, and every letter once.")
    possible = len(letters) * (len(letters) - 1) ** (length - 1)
    if num_words > possible:
        raise ValueError(f"{num_words} words of {length} letters are asked for; {letters!r} gives {possible}.")
    rng = np.random.default_rng(derive_seed(seed, "words", letters, length))
    rows = np.stack([_column(rng, num_words, len(letters)) for _ in range(length)], axis=1)
    for _ in range(TRIES_PER_WORD * num_words):
        bad = _bad_rows(rows)
        if not bad:
            return ["".join(letters[i] for i in row) for row in rows]
        row, other, at = rng.choice(bad), rng.integers(num_words), rng.integers(length)
        rows[[row, other], at] = rows[[other, row], at]
        if len(_bad_rows(rows)) > len(bad):
            rows[[row, other], at] = rows[[other, row], at]
    raise ValueError(f"{num_words} words of {length} letters from {letters!r} cannot be found; ask for fewer.")


def _column(rng: np.random.Generator, num_words: int, num_letters: int) -> np.ndarray:
    """(num_words,): letters as often as each other, up to one, in random order."""
    rounds = [rng.permutation(num_letters) for _ in range(-(-num_words // num_letters))]
    return rng.permutation(np.concatenate(rounds)[:num_words])


def _bad_rows(rows: np.ndarray) -> Sequence[int]:
    """Rows that repeat an earlier one, or have a letter that follows itself."""
    first = np.unique(rows, axis=0, return_index=True)[1]
    bad = np.ones(len(rows), dtype=bool)
    bad[first] = False
    bad |= (rows[:, 1:] == rows[:, :-1]).any(axis=1)
    return np.flatnonzero(bad).tolist()


def main() -> None:
    """Prepare, or gather ``results/words.json`` from the evaluation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepare", action="store_true", help="render the words and write the split")
    parser.add_argument("--report", type=Path, metavar="FILE", help="default: the newest evaluation.json of words")
    arguments = parser.parse_args()
    config = make_config("words")
    if arguments.prepare:
        print(f"split: {prepare(ROOT / config.DATA_DIR)}")
        return
    path = arguments.report or newest_report(ROOT / config.SAMPLE_DIR / config.EXPERIMENT_NAME)
    if path is None:
        parser.error("there is no evaluation yet. Run: python main.py evaluate, as --help says")
    report = json.loads(path.read_text())
    for name, part in report["parts"].items():
        ranked, heard = part["prompt_ranking"], part["recogniser"]
        print(f"{name:<9} prompt ranking {ranked['accuracy']:.3f} of {ranked['num']} (chance {ranked['chance']:.3f})")
        for kind in ("generated", "real"):
            found = heard[kind]
            print(f"{name:<9} letters right in {kind} words {found['accuracy']:.3f} of {found['num']}")
    path = write_result("words", "python -m benchmarks.words", {"word_seed": SEED, **report})
    print(f"written: {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
