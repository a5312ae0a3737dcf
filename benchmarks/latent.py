"""256 px in latents against 64 px in pixels, scaled up: 20 camera clips, equal seconds. Two hours on two cores.

    python -m benchmarks.latent                  # both, an hour each
    python -m benchmarks.latent --minutes 10 --only latent
    python -m benchmarks.latent --evaluate-only  # again, for example where requirements-pose.txt finds hands

Both are trained with ``--preset signs`` on every third of the clips of ../shared/real/isl, and stopped when their
time is over, at which the learning rate has fallen to zero: the number of epochs follows from a few steps that are
timed first. Both are judged at 256 px against the same clips, of which the model in pixels sees the mean of every 4 x 4
pixels, and what it makes is scaled up (bicubic). Beside each stands its ceiling: the real clips encoded and decoded, or
made smaller and scaled up again.

The clips are not of this project: where they are absent, so is the benchmark.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.machine import ROOT, command_line, run_command, write_result
from benchmarks.signs import REAL
from config import make_config, parse_assignments
from dataset import TextToSignDataset
from methods.evaluation.likeness.hands import agreement, summary
from methods.evaluation.measures import look
from methods.evaluation.motion import measure_motion
from methods.sampling.generate import generate
from methods.sampling.loading import load_model
from methods.sampling.provenance import Request
from methods.trainer import Trainer
from utils.reading import pose
from utils.video import resize_and_crop
from utils.writing import write_clip

SIDE = 256  # px
NUM_CLIPS = 20
WAYS: dict[str, dict[str, object]] = {  # each on top of --preset signs; both have 16 tokens a frame in 192 channels
    "latent": {"IMAGE_SIZE": SIDE, "AUTOENCODER": "pca:16", "TINYFUSION_VARIANT": "DiT-XS/4"},
    "pixel": {"IMAGE_SIZE": 64},
}
TIMED = 30  # steps
ROWS = (  # printed: name, way into the part of a result
    ("moving PSNR, dB", "motion.moving_psnr"),
    ("motion explained, mean", "motion.explained"),
    ("motion explained, worst", "motion.explained_worst"),
    ("amplitude", "motion.amplitude_ratio"),
    ("hands found", "hands.found"),
    ("PCK at 0.2", "hands.pck"),
)
Clips = list[np.ndarray]  # (F, SIDE, SIDE, 3) uint8 each


def prepare(folder: Path) -> None:
    """Every third clip of the collection with its text, made square, SIDE px."""
    films = sorted((REAL / "isl").glob("*.gif"))[::3][:NUM_CLIPS]
    (folder / "films").mkdir(parents=True)
    for film in films:
        for path in (film, film.with_suffix(".txt")):
            shutil.copyfile(path, folder / "films" / path.name)
    run_command(f"prepare-data --set IMAGE_SIZE={SIDE} --videos {folder / 'films'} --output {folder / 'clips'}")


def settings(folder: Path, name: str, extra: dict[str, object]) -> dict[str, object]:
    """Of one way, its files below ``folder``."""
    places = {"CHECKPOINT_DIR": "checkpoints", "LOG_DIR": "logs", "SAMPLE_DIR": "samples", "CACHE_DIR": "cache"}
    below = {key: str(folder / name / sub) for key, sub in places.items()}
    return {**below, "DATA_DIR": str(folder / "clips"), **WAYS[name], **extra}


def train(folder: Path, name: str, *, minutes: float, extra: dict[str, object]) -> dict[str, float]:
    """Train for so many minutes; what was asked for and taken."""
    chosen = settings(folder, name, extra)
    trial = Trainer(make_config("signs", chosen))
    for _ in range(3):  # the first ones choose kernels
        trial.train_step()
    start = time.perf_counter()
    for _ in range(TIMED):
        trial.train_step()
    step = (time.perf_counter() - start) / TIMED
    epochs = max(1, round(60 * minutes / step / trial.steps_per_epoch))
    rare = {f"{what}_EVERY_EPOCHS": max(1, epochs // 4) for what in ("SAVE", "SAMPLE", "VALIDATE", "LOG_DETAILS")}
    flags = " ".join(f"--set '{key}={value}'" for key, value in {**chosen, "NUM_EPOCHS": epochs, **rare}.items())
    seconds = run_command(f"train --preset signs {flags}")
    return {"epochs": epochs, "steps": epochs * trial.steps_per_epoch, "seconds": round(seconds, 1)}


def enlarged(clip: np.ndarray) -> np.ndarray:
    """(F, H, W, 3) uint8 at SIDE px."""
    if clip.shape[1] == SIDE:
        return clip
    return np.stack([np.asarray(Image.fromarray(f).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for f in clip])


def judge(made: Clips, real: Clips, texts: list[str]) -> dict[str, object]:
    """Motion of ``made`` against ``real`` clips of the same texts, and hands where MediaPipe is installed."""
    found: dict[str, object] = {"motion": measure_motion(made, texts, real, texts)}
    if pose.is_installed():
        pairs = ((pose.find_hands(clip), pose.find_hands(other)) for clip, other in zip(made, real, strict=True))
        found["hands"] = summary([agreement(*pair) for pair in pairs])
    return found


def evaluate(folder: Path, name: str) -> dict[str, object]:
    """Every caption once, beside the ceiling; the clips are written."""
    loaded = load_model(folder / name / "checkpoints" / "signs" / "latest_checkpoint.pt")
    config, cache = loaded.config, folder / "cache"
    data = TextToSignDataset(folder / "clips", num_frames=config.NUM_FRAMES, image_size=SIDE, cache_dir=cache)
    texts, real = data.texts, [data.frames(row) for row in range(len(data))]
    start = time.perf_counter()
    made = [enlarged(clip.frames) for clip in generate(loaded, [Request(text, config.SEED) for text in texts])]
    seconds = time.perf_counter() - start
    ceiling = ceiling_of(name, real, loaded.decoded)
    (folder / name / "clips").mkdir(exist_ok=True)
    for kind, clips in (("real", real), ("made", made), ("ceiling", ceiling)):
        for own, clip in zip(data.names, clips, strict=True):
            write_clip(folder / name / "clips" / f"{own.rpartition('/')[2]}_{kind}.mp4", clip, fps=loaded.fps)
    return {
        "step": loaded.step, "sample_seconds_per_clip": round(seconds / len(texts), 2),
        "made": judge(made, real, texts), "ceiling": judge(ceiling, real, texts),
    }  # fmt: skip


def ceiling_of(name: str, real: Clips, decoded: Callable[[np.ndarray], np.ndarray]) -> Clips:
    """The real clips as well as a way of WAYS could make them."""
    if name == "latent":
        return [decoded(clip) for clip in real]
    return [enlarged(resize_and_crop(clip, WAYS[name]["IMAGE_SIZE"])) for clip in real]


def main() -> int:
    """Run what is missing, print the rows, write ``results/latent.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="of training, each")
    parser.add_argument("--only", choices=WAYS, help="one of the two")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for both")
    parser.add_argument("--folder", type=Path, default=ROOT / "generated_samples" / "benchmark_latent")
    parser.add_argument("--evaluate-only", action="store_true", help="the checkpoints that lie in the folder")
    args = parser.parse_args()
    if not (REAL / "isl").is_dir():
        print(f"{REAL / 'isl'} is absent: skipped. It holds real clips, which are no part of this project.")
        return 0
    folder, names = args.folder.resolve(), [args.only] if args.only else list(WAYS)
    if not (folder / "clips").is_dir():
        prepare(folder)
    result: dict[str, object] = {"minutes": args.minutes, "set": args.set, "hands": pose.is_installed()}
    for name in names:
        times = folder / name / "times.json"
        if not args.evaluate_only:
            if (folder / name).exists():
                parser.error(f"{folder / name} exists; the benchmark measures from nothing. Remove it, or --folder.")
            found = train(folder, name, minutes=args.minutes, extra=parse_assignments(args.set))
            times.write_text(json.dumps(found))
        result[name] = {**json.loads(times.read_text()), "recipe": WAYS[name], **evaluate(folder, name)}
    path = write_result("latent" if not args.only else f"latent_{args.only}", command_line("latent"), result)
    print(f"{'at 256 px':<26}" + "".join(f"{f'{name}, {kind}':>18}" for name in names for kind in ("made", "ceiling")))
    for title, way in ROWS:
        cells = [look(result[name], f"{kind}.{way}") for name in names for kind in ("made", "ceiling")]
        print(f"{title:<26}" + "".join(f"{'not measured' if cell is None else f'{cell:.3f}':>18}" for cell in cells))
    print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
