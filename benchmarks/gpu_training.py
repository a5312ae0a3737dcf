"""The rows of ``benchmarks/gpu.py`` that train, or start the program: each a function of a ``Bench``."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import scaling, startup
from benchmarks.gpu_rows import Absent, Bench
from dataset import load_dataset
from methods.evaluation.evaluator import evaluate
from methods.sampling.loading import load_model
from methods.trainer import Trainer
from utils.checkpoints.file import latest_path
from utils.reading.prepare import Settings, prepare_videos

QUIET = {
    "SAMPLE_EVERY_EPOCHS": 0, "VALIDATE_EVERY_EPOCHS": 0, "RANK_EVERY_EPOCHS": 0, "LOG_DETAILS_EVERY_EPOCHS": 0,
    "SAVE_EVERY_EPOCHS": 1_000_000, "LOG_EVERY_STEPS": 50,
}  # fmt: skip
TIMED_STEPS = 5  # that tell how many fit into the time
FOR_MEASURES = 30  # seconds that are kept for them, after each training
MAX_CLIPS = 26  # judged
JUDGE_STEPS = 300


def first_clip(bench: Bench) -> dict[str, Any]:
    """From the command's start to the first clip's file, the checkpoint on disk: with cold caches and warm ones."""
    config = bench.config(DATA_DIR=str(bench.letters), EXPERIMENT_NAME="first_clip")
    path = Trainer(config).save()
    return {kind: startup.sample(path, bench.folder) for kind in ("cold", "warm")}


def many_processes(bench: Bench) -> dict[str, Any]:
    """A step of the same clips on one process and on as many as there are GPUs, by nccl; two by gloo in a rehearsal."""
    num = 2 if bench.rehearse else torch.cuda.device_count()
    if num < 2:
        raise Absent(f"{num} GPU is here; nccl between GPUs wants two at least")
    changed = {
        "TEXT_ENCODER": bench.config().TEXT_ENCODER, "TINYFUSION_INIT": "scratch", "VALIDATION_FRACTION": 0.0,
        "DEVICE": bench.device.type,
    }  # fmt: skip

    def seconds(processes: int, way: str) -> float:
        return scaling.run_seconds(
            str(bench.letters), processes=processes, way=way, clips=num, preset=bench.preset, changed=changed
        )

    ways = ("ddp",) if bench.rehearse else ("ddp", "fsdp")
    return {"processes": num, "one": seconds(1, "ddp"), **{way: seconds(num, way) for way in ways}}


def letters(bench: Bench) -> dict[str, Any]:
    """The default trained on drawn letters; half of the time that is left at most."""
    return trained(bench, "letters", bench.letters, seconds=min(bench.train_seconds, bench.left / 2 - FOR_MEASURES))


def letters_measured(bench: Bench) -> dict[str, Any]:
    """By ``evaluate``."""
    return measured(bench, "letters")


def camera(bench: Bench) -> dict[str, Any]:
    """The default trained on films of signers; on letters read as films where none are named."""
    films = bench.camera or bench.letters
    if not films.is_dir():
        raise Absent(f"{films} is no folder of films; name one with --camera")
    folder = bench.folder / "camera_clips"
    prepare_videos(films, folder, Settings(bench.config().IMAGE_SIZE))
    return trained(bench, "camera", folder, seconds=min(bench.train_seconds, bench.left - FOR_MEASURES))


def camera_measured(bench: Bench) -> dict[str, Any]:
    """By ``evaluate``."""
    return measured(bench, "camera")


def trained(bench: Bench, name: str, data: Path, *, seconds: float) -> dict[str, Any]:
    """A run of as many epochs as fit into the time, its checkpoint kept as ``name``'s."""
    config = bench.config(DATA_DIR=str(data), EXPERIMENT_NAME=name, **QUIET, **bench.training_changes)
    trainer = Trainer(config)
    trainer.train_step()  # chooses kernels
    start = time.perf_counter()
    for _ in range(TIMED_STEPS):
        trainer.train_step()
    per_step = (time.perf_counter() - start) / TIMED_STEPS
    epochs = max(1, int(seconds / per_step / trainer.steps_per_epoch))
    trainer = Trainer(replace(config, NUM_EPOCHS=epochs))
    start = time.perf_counter()
    trainer.run()
    return {
        "clips": len(trainer.training), "steps": trainer.step, "seconds": time.perf_counter() - start,
        "timed_step_s": per_step, "skipped_steps": trainer.skipped_steps,
    }  # fmt: skip


def measured(bench: Bench, name: str) -> dict[str, Any]:
    """The measures of the run ``name``, and how far it came in denoising."""
    path = latest_path(bench.config(EXPERIMENT_NAME=name))
    if not path.is_file():
        raise Absent(f"no training of {name} has left a checkpoint")
    loaded = load_model(path)
    report = evaluate(
        loaded, load_dataset(loaded.config), folder=bench.folder / f"{name}_evaluation", max_clips=MAX_CLIPS,
        clips_per_caption=1, recogniser_steps=2 if bench.rehearse else JUDGE_STEPS,
    )  # fmt: skip
    return {key: report[key] for key in ("step", "denoising", "parts")}
