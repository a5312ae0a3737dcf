"""Which network the judge stands on: held-out pairs of letter and language named right, after equal CPU time.

    python -m benchmarks.letters --prepare
    python -m benchmarks.recognisers --seconds 40 --networks test_resnet test_byobnet test_convnext

Real clips alone, three splits of them as ``benchmarks.letters`` makes them, a seed each. Hands are cut out once.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from tqdm import tqdm

from benchmarks.letters import SEED, held_out_pairs
from benchmarks.machine import ROOT, write_result
from config import make_config
from dataset import TextToSignDataset, load_dataset
from methods.evaluation.judge import FALL, NETWORK, Judge
from utils.split import without_copies

TIMED = 8  # steps


def split_rows(data: TextToSignDataset, seed: int) -> tuple[list[int], list[int]]:
    """(training rows, held-out rows), copies of held-out clips in neither."""
    pairs = {f"{language}/{language}_{letter}" for letter, language in held_out_pairs(seed)}
    originals = without_copies(data.names, list(range(len(data))), copies=data.copies)
    held_out = [row for row in originals if data.names[row] in pairs]
    training = [row for row, name in enumerate(data.names) if not name.startswith(tuple(pairs))]
    return training, held_out


def steps_in(seconds: float, clips: list[np.ndarray], captions: list[str], network: str) -> int:
    """How many training steps take so much CPU time, measured on a few."""
    times = []
    for num_steps in (1, 1 + TIMED):  # the first time shows the clips' hands, too
        start = time.process_time()
        Judge(clips, captions, seed=0, num_steps=num_steps, network=network)
        times.append(time.process_time() - start)
    return max(FALL, round(seconds * TIMED / (times[1] - times[0])))


def main() -> None:
    """A row for each network, ``results/recognisers.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=40.0, help="CPU time of a training (default 40)")
    parser.add_argument("--networks", nargs="+", default=[NETWORK], metavar="NAME", help=f"of timm (default {NETWORK})")
    arguments = parser.parse_args()
    config = make_config("letters")
    data = load_dataset(config)
    rows = {}
    for network in arguments.networks:
        runs = []
        for seed in tqdm(range(3), desc=network, leave=False):
            training, held_out = split_rows(data, SEED + seed)
            clips, captions = [data.frames(row) for row in training], [data.texts[row] for row in training]
            steps = steps_in(arguments.seconds, clips, captions, network)
            judge = Judge(clips, captions, seed=seed, num_steps=steps, network=network)
            asked = [data.texts[row] for row in held_out]
            score = judge.score(judge.name_signs([data.frames(row) for row in held_out], asked), asked)
            runs.append({"num_steps": judge.num_steps, **score.to_dict()})
        rows[network] = runs
        shares = [run["accuracy"] for run in runs]
        each = ", ".join(f"{share:.3f}" for share in shares)
        print(f"{network:<20}{runs[0]['num_steps']:>5} steps  named right {np.mean(shares):.3f} ({each})", flush=True)
    command = f"python -m benchmarks.recognisers --seconds {arguments.seconds:g} --networks {' '.join(rows)}"
    folder = ROOT / config.DATA_DIR
    print(f"written: {write_result('recognisers', command, {'data': folder.name, 'rows': rows})}", file=sys.stderr)


if __name__ == "__main__":
    main()
