"""What video files cost at scale, and that none is stale; ratios are of one run, and a quiet machine is wanted.

    python -m benchmarks.videos                                   # minutes, and 1 GB of disk
    python -m benchmarks.videos --parts reading --films ../shared/real/words
    python -m benchmarks.videos --parts start --clips 30000
    python -m benchmarks.videos --parts step changes

reading: a first start on 720p MP4s, which hashes, decodes, scales and keeps, over what PyAV alone takes to decode and
scale the same frames, a thread a core for both. start: another start on distinct small files, by pairs and by a table,
in a process that counts what is opened. step: a training step of the demo on clips of these films over one on a ready
tensor. changes: what is done to a file after it was read, and whether the next start notices.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from benchmarks.changes import noticed
from benchmarks.data import step_shares
from benchmarks.films import SECONDS_AGO, decoded, tiny_gif, write_films
from benchmarks.machine import ROOT, command_line, write_result
from benchmarks.timing import alternate, summary, times_as_fast
from dataset import TextToSignDataset
from utils.video import frame_indices

PARTS = ("reading", "start", "step", "changes")
FRAMES, SIZE = 16, 64
TINY_SIZE = 16  # px, of the clips that a start is measured on, whose pixels it never reads


def reading(films: Path, *, rounds: int) -> dict[str, Any]:
    """Seconds of both, in turns; files are in the system's memory, so that no disk is measured."""
    data = TextToSignDataset(films, num_frames=FRAMES, image_size=SIZE)
    wanted = [(row.path, frame_indices(facts.num_source, FRAMES).tolist()) for row, facts in
              zip(data.rows, data.facts, strict=True)]  # fmt: skip

    def ours() -> None:
        with tempfile.TemporaryDirectory() as cache:
            TextToSignDataset(films, num_frames=FRAMES, image_size=SIZE, cache_dir=cache)

    def limit() -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda film: decoded(*film, SIZE), wanted))

    times = alternate({"ours": ours, "limit": limit}, torch.device("cpu"), repeats=rounds)
    return {
        "films": len(data),
        "sizes": sorted({"x".join(map(str, facts.size)) for facts in data.facts}),
        "frames_a_film": round(sum(facts.num_source for facts in data.facts) / len(data), 1),
        **{f"{name}_{key}": round(value, 3) for name, taken in times.items() for key, value in summary(taken).items()},
        "films_per_second": round(len(data) / summary(times["ours"])["median_s"], 1),
        "share_of_the_limit": round(times_as_fast(times["ours"], times["limit"]), 3),
        "wanted": 0.8,
    }


def start(place: Path, *, num_clips: int) -> dict[str, Any]:
    """First and second start in processes of their own, by pairs (clips and captions), then by a table."""
    folder = place / "clips"
    folder.mkdir()
    then = time.time() - SECONDS_AGO
    for number in range(num_clips):
        for suffix, content in ((".gif", tiny_gif(number)), (".txt", f"clip {number}".encode())):
            path = folder / f"{number:05d}{suffix}"
            path.write_bytes(content)
            os.utime(path, (then, then))
    found: dict[str, Any] = {"wanted": "10 s, 2 GiB, no clip or caption opened"}
    for layout in ("pairs", "table"):
        if layout == "table":
            rows = "".join(f"{number:05d}.gif,clip {number}\n" for number in range(num_clips))
            (folder / "metadata.csv").write_text("file_name,text\n" + rows)
        for name in ("first", "second"):
            print(f"{name} start, by {layout}", flush=True)
            found[f"{layout}_{name}"] = _started(folder, place / f"cache_{layout}", layout)
    return found


def _started(folder: Path, cache: Path, layout: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.start_child", folder, cache, FRAMES, TINY_SIZE, layout]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print what was found; write ``results/videos_PART.json`` for each part, or ``videos_reading_FOLDER.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--films", type=Path, help="a folder of MP4s and texts, instead of films made here")
    parser.add_argument("--num_films", type=int, default=36)
    parser.add_argument("--frames", type=int, default=40, help="of each film made here")
    parser.add_argument("--rounds", type=int, default=5, help="of reading")
    parser.add_argument("--clips", type=int, default=30_000, help="small ones, of the start")
    parser.add_argument("--pairs", type=int, default=100, help="steps with clips, and as many without")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        films = args.films or place / "films"
        if not args.films and {"reading", "step"} & {*args.parts}:
            print(f"writing {args.num_films} films", flush=True)
            write_films(films, args.num_films, num_frames=args.frames)
        for part in args.parts:
            if part == "reading":
                result = reading(films, rounds=args.rounds)
            elif part == "start":
                result = start(place, num_clips=args.clips)
            elif part == "step":
                result = {**step_shares(place / "step", films, num_pairs=args.pairs), "wanted": 1.05}
            else:
                result = noticed(place / "changes")
            print(json.dumps(result, indent=2))
            own = f"_{films.name}" if args.films and part in ("reading", "step") else ""
            print(f"written: {write_result(f'videos_{part}{own}', command_line('videos'), result)}", flush=True)


if __name__ == "__main__":
    main()
