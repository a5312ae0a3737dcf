"""What the tests share: a few generated clips, the packaged text encoder, one short debug run. All offline."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when huggingface_hub is imported
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads of a test that has two must not spin for a busy core

import numpy as np
import pytest
import torch

from config import Config, make_config
from models.text_encoder import TextEncoder
from presets import PACKAGED_ENCODER
from utils.writing import write_clip

CAPTIONS = ("hello", "thank you", "yes", "no", "good morning", "please help me", "where is the station", "water")
COLOURS = (
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 255, 0),
    (255, 0, 255),
    (0, 255, 255),
    (255, 255, 255),
    (90,) * 3,
)


def moving_square(index: int, *, num_frames: int = 4, side: int = 16) -> np.ndarray:
    """(F, side, side, 3) uint8: a square on black; its colour, row and direction tell the clips apart."""
    frames = np.zeros((num_frames, side, side, 3), dtype=np.uint8)
    for frame in range(num_frames):
        left = 2 * frame + 1 if index % 2 else side - 6 - 2 * frame
        top = 1 + index
        frames[frame, top : top + 5, left : left + 5] = COLOURS[index % len(COLOURS)]
    return frames


def write_pair(folder: Path, name: str, frames: np.ndarray, caption: str) -> Path:
    """NAME.gif and NAME.txt below ``folder``; returns the GIF's path."""
    gif = folder / f"{name}.gif"
    write_clip(gif, frames, fps=8)
    gif.with_suffix(".txt").write_text(caption + "\n", encoding="utf-8")
    return gif


def write_clips_folder(folder: Path) -> Path:
    """Eight pairs of 16 px and 4 to 6 frames, a caption each."""
    for index, caption in enumerate(CAPTIONS):
        frames = moving_square(index, num_frames=4 + index % 3)
        write_pair(folder, f"signer{index % 4}__clip{index}", frames, caption)
    return folder


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Debug models are so small that threads only wait for each other; it also fixes the order of sums."""
    torch.set_num_threads(1)


def pytest_collection(session: pytest.Session) -> None:
    """Importing makes a million objects, none of them garbage; ``settled_objects`` has it on again."""
    gc.disable()


@pytest.fixture(autouse=True, scope="module")
def settled_objects() -> None:
    """What the libraries and the tests before have left lives on: no collection need look through it again.

    Planning collects before each trace, which took 0.4 s every time.
    """
    gc.enable()
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def clips_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of eight clips, none so new that a start would not take its time for its content; read only."""
    folder = write_clips_folder(tmp_path_factory.mktemp("clips"))
    for path in folder.iterdir():
        os.utime(path, (1e9, 1e9))
    return folder


@pytest.fixture(scope="session")
def encoder() -> TextEncoder:
    """The real sentence encoder that a package carries."""
    return TextEncoder(PACKAGED_ENCODER, max_length=32)


def debug_settings(folder: Path, clips: Path) -> dict[str, str]:
    """The settings that keep a run below ``folder``, on the CPU."""
    places = {"CHECKPOINT_DIR": "checkpoints", "LOG_DIR": "logs", "SAMPLE_DIR": "generated_samples"}
    places["CACHE_DIR"] = "cache"
    plain = {"DATA_DIR": str(clips), "DEVICE": "cpu", "CLIP_FORMAT": "gif"}
    return {**plain, **{key: str(folder / name) for key, name in places.items()}}


@pytest.fixture
def debug_config(tmp_path: Path, clips_folder: Path) -> Callable[..., Config]:
    """``debug_config(SEED=7)``: the debug preset on the generated clips, writing below tmp_path."""

    def make(**overrides: object) -> Config:
        return make_config("debug", {**debug_settings(tmp_path, clips_folder), **overrides})

    return make


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory, clips_folder: Path) -> Path:
    """The folder of a finished debug run through the command line; read only."""
    from main import main

    folder = tmp_path_factory.mktemp("run")
    assert main(["train", *command_settings(folder, clips_folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def trained_checkpoint(trained_run: Path) -> Path:
    return trained_run / "checkpoints" / "debug" / "latest_checkpoint.pt"


@pytest.fixture(scope="session")
def learnt_checkpoint(tmp_path_factory: pytest.TempPathFactory, clips_folder: Path) -> Path:
    """Of a debug run just long enough to know more than the mean clip; two of four signers are held out."""
    from main import main

    folder = tmp_path_factory.mktemp("learnt")
    more = {"NUM_EPOCHS": 30, "VALIDATION_FRACTION": 0.5, "SAVE_EVERY_EPOCHS": 30, "SAMPLE_EVERY_EPOCHS": 0}
    quiet = {"VALIDATE_EVERY_EPOCHS": 0, "RANK_EVERY_EPOCHS": 0, "LOG_DETAILS_EVERY_EPOCHS": 0, "LEARNING_RATE": 2e-3}
    assert main(["train", *command_settings(folder, clips_folder, **more, **quiet)]) == 0
    return folder / "checkpoints" / "debug" / "latest_checkpoint.pt"


def command_settings(folder: Path, clips: Path, **overrides: object) -> list[str]:
    """``--preset debug --set ...`` for a run below ``folder``."""
    values = {**debug_settings(folder, clips), **overrides}
    return ["--preset", "debug", *(part for key, value in values.items() for part in ("--set", f"{key}={value}"))]


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder
