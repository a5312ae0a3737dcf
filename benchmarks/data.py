"""What clips cost: decoding them once, reading them from the cache's memory map, and their share of a training step.

    python -m benchmarks.data          # a minute or two
    python -m benchmarks.data --clips 4000 --pairs 60

Reading ends in float32 tensors (B, 3, 16, 64, 64), as the model takes them, of distinct clips in random order. A step
of the demo preset with clips from the map is compared with the same step on a tensor that is ready, in turns.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.machine import write_result
from config import make_config
from dataset import TextToSignDataset
from methods.trainer import Trainer
from utils.writing import write_clip

FRAMES, SIZE = 16, 64
BATCHES = (1, 4, 32)
FOLDERS = {"training_data/ase": (16, 64), "training_data/letters": (8, 32)}  # with the size that their preset has


def write_clips(folder: Path, num_clips: int) -> None:
    """Distinct pairs of FRAMES frames of SIZE px: a shaded disc that moves over a shaded ground."""
    draw = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE]
    for number in range(num_clips):
        colour, start, speed = draw.integers(60, 256, 3), draw.uniform(16, 48, 2), draw.uniform(-1, 1, 2)
        frames = np.empty((FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
        for frame in range(FRAMES):
            distance = np.hypot(y - start[0] - frame * speed[0], x - start[1] - frame * speed[1])
            shade = np.where(distance < 12, 12 - distance // 2, (x + y) // 32)
            frames[frame] = shade[..., None] * colour // 16
        write_clip(folder / f"{number:05d}.gif", frames, fps=8)
        (folder / f"{number:05d}.txt").write_text(f"clip {number}")


def opened(folder: Path, cache_dir: Path, size: tuple[int, int]) -> tuple[TextToSignDataset, dict[str, float]]:
    """The dataset, and the seconds of a start that decodes, of one that does not, and of the statistics."""
    seconds: dict[str, float] = {}
    for name in ("cold_seconds", "warm_seconds"):
        start = time.perf_counter()
        data = TextToSignDataset(folder, num_frames=size[0], image_size=size[1], cache_dir=cache_dir)
        seconds[name] = round(time.perf_counter() - start, 3)
    start = time.perf_counter()
    data.statistics(list(range(len(data))))
    seconds["statistics_seconds"] = round(time.perf_counter() - start, 3)
    rate = round(len(data) / seconds["cold_seconds"], 1)
    return data, {"clips": len(data), "decoded_clips_per_second": rate, **seconds}


def clips_per_second(data: TextToSignDataset, *, batch: int, passes: int = 3) -> float:
    """Median over passes, each of which reads every clip once, in another order."""
    rates = []
    for number in range(passes):
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(number)).tolist()
        start = time.perf_counter()
        for at in range(0, len(order), batch):
            data.videos(order[at : at + batch])
        rates.append(len(order) / (time.perf_counter() - start))
    return sorted(rates)[passes // 2]


class Ready(TextToSignDataset):
    """A dataset whose every batch is there already: the same zeros."""

    def __init__(self, data: TextToSignDataset, batch: int) -> None:
        self.__dict__.update(data.__dict__)
        self.batch = torch.zeros_like(data.videos([0] * batch))

    def videos(self, indices: list[int], *, drawn: tuple[int, int] | None = None) -> Tensor:
        return self.batch[: len(indices)]


def step_shares(folder: Path, data_dir: Path, *, num_pairs: int) -> dict[str, float]:
    """Steps of the demo with clips from the map over the same steps on ready tensors, and reading's own share."""
    places = {key: str(folder) for key in ("CHECKPOINT_DIR", "LOG_DIR", "SAMPLE_DIR", "CACHE_DIR")}
    trainer = Trainer(make_config("demo", {**places, "DATA_DIR": str(data_dir)}))
    real, ready = trainer.data, Ready(trainer.data, trainer.config.BATCH_SIZE)
    seconds: dict[TextToSignDataset, list[float]] = {real: [], ready: []}
    for number in range(num_pairs + 2):
        for data in (real, ready) if number % 2 else (ready, real):
            trainer.data = data
            start = time.perf_counter()
            trainer.train_step()
            if number >= 2:  # the first ones warm up
                seconds[data].append(time.perf_counter() - start)
        trainer.step += 1
    trainer.data, reading = real, []
    for _ in range(num_pairs):
        start = time.perf_counter()
        real.videos(trainer.rows())
        reading.append(time.perf_counter() - start)
        trainer.step += 1
    step = float(np.median(seconds[ready]))
    return {
        "steps": num_pairs,
        "seconds_per_ready_step": round(step, 4),
        "ratio_of_step_times": round(float(np.median(np.divide(seconds[real], seconds[ready]))), 4),
        "share_of_reading": round(float(np.median(reading)) / step, 4),
    }


def main() -> None:
    """Print a table; write ``results/data.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--pairs", type=int, default=40, help="steps with clips, and as many without")
    args = parser.parse_args()
    result: dict[str, object] = {"threads": torch.get_num_threads()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"writing {args.clips} clips", flush=True)
        write_clips(folder / "clips", args.clips)
        data, result["made_here"] = opened(folder / "clips", folder / "cache", (FRAMES, SIZE))
        for batch in BATCHES:
            result[f"mapped_clips_per_second_by_{batch}"] = round(clips_per_second(data, batch=batch), 1)
        for place, size in FOLDERS.items():
            if Path(place).is_dir():
                result[place] = opened(Path(place), folder / "cache", size)[1]
        demo = next(place for place in (Path("training_data/ase"), folder / "clips") if place.is_dir())
        result["demo_step"] = step_shares(folder, demo, num_pairs=args.pairs)
    for key, value in result.items():
        print(f"{key:<34}{value}")
    print(f"written: {write_result('data', f'python -m benchmarks.data --clips {args.clips}', result)}")


if __name__ == "__main__":
    main()
