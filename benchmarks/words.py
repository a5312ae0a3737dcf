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
from pathlib import Path

import torch

from benchmarks.machine import ROOT, newest_report, run_command, write_result
from config import make_config
from utils.fingerspelling.words import make_words
from utils.runtime import generator

NUM_WORDS, LENGTH, HELD_OUT = 1000, 3, 40
SEED = 0


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
