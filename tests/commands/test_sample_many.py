"""Sampling many clips: batch by batch, gone on with after any interruption, shared by processes; always the same bits.

The weights here are rough, so that a batch of another shape shows in the files.
"""

from __future__ import annotations

import gc
import hashlib
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from main import main
from methods.sampling.loading import LoadedModel, load_model
from methods.sampling.provenance import Request, read
from methods.sampling.queue import Queue, make_queue, work
from tests.conftest import files_below, moving_square
from utils.checkpoints import file as checkpoint
from utils.gif import read_comment
from utils.processes import World
from utils.reading.reader import read_frames
from utils.writing import write_clip

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = ("yes", "where is the station now please", "thank you", "No!", "good morning", "water", "gr\u00fc\u00df dich")
BATCH_SIZE = 3
SETTINGS = {"INFERENCE_TIMESTEPS": 8, "GUIDANCE_SCALE": 6.0, "SAMPLER": "ddpm", "MIXED_PRECISION": "bf16"}
Sample = Callable[..., int]


@pytest.fixture(scope="module")
def rough(trained_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose clips turn one rounding into many pixels."""
    content = checkpoint.load(trained_checkpoint)
    draw = torch.Generator().manual_seed(0)
    for name, value in content["ema"].items():
        content["ema"][name] = value + 0.3 * torch.randn(value.shape, generator=draw)
    path = tmp_path_factory.mktemp("rough") / "rough.pt"
    checkpoint.save(path, content)
    return path


@pytest.fixture(scope="module")
def sample(rough: Path) -> Sample:
    """``sample(folder, *flags)`` of the prompts, in batches of three; returns the exit code."""
    rough.with_name("prompts.txt").write_text("# greetings\n" + "\n\n".join(PROMPTS) + "\nyes\n", encoding="utf-8")
    sets = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]

    def run(folder: Path, *flags: str, checkpoint: Path = rough) -> int:
        common = ["sample", "--checkpoint", str(checkpoint), "--prompts-file", str(rough.with_name("prompts.txt"))]
        return main([*common, "--batch_size", str(BATCH_SIZE), "--output", str(folder), *sets, *flags])

    return run


@pytest.fixture(scope="module")
def whole(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run; read only."""
    folder = tmp_path_factory.mktemp("whole")
    assert sample(folder) == 0
    return folder


@pytest.fixture(scope="module")
def names(whole: Path) -> list[str]:
    """The files' names in the order of the prompts."""
    prompts = {read(path).prompt: path.name for path in whole.iterdir()}
    return [prompts[prompt] for prompt in PROMPTS]


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy of the finished folder."""
    return Path(shutil.copytree(whole, tmp_path / "clips"))


@pytest.fixture(scope="module")
def loaded(rough: Path) -> LoadedModel:
    return load_model(rough, SETTINGS, batch_size=BATCH_SIZE)


def queue_of(loaded: LoadedModel, folder: Path) -> Queue:
    requests = [Request(prompt, loaded.config.SEED) for prompt in PROMPTS]
    return make_queue(loaded, requests, folder, process=World())


# ---- The list -------------------------------------------------------------------------------------------------------


def test_each_prompt_of_a_file_becomes_a_clip_in_its_order(
    sample: Sample, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample(tmp_path, "--text", "please", "--num_samples", "2", "--steps", "2") == 0
    out, err = capsys.readouterr()
    found = [read(Path(line)) for line in out.splitlines()]
    wanted = [(prompt, index) for prompt in ("please", *PROMPTS) for index in range(2)]
    assert [(one.prompt, one.index) for one in found] == wanted
    assert [one.batch_size for one in found] == [3] * 15 + [1]
    lines = err.splitlines()
    assert "prompts given again, made once: 1" in lines
    assert lines[-1] == f"{tmp_path}: 16 clips written, 0 skipped" and "16 of 16 clips" in err
    assert len(list(whole.iterdir())) == len(PROMPTS)


def test_two_prompts_that_would_be_one_file_are_refused(
    sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = hashlib.sha256(b"no!").hexdigest()[:12]
    assert sample(tmp_path, "--text", "no!", "--text", f"no {digits}") == 2
    assert f"error: 'no!' and 'no {digits}' would have the same file name" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_standard_input_is_a_list_too(
    rough: Path, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("yes\n\u624b\u8a71\n".encode())))
    assert main(["sample", "--checkpoint", str(rough), "--prompts-file", "-", "--output", "out"]) == 0
    assert [read(Path(line)).prompt for line in capsys.readouterr().out.splitlines()] == ["yes", "\u624b\u8a71"]


MISTAKES = {
    "no prompt": ([], {}, "There is no prompt; wanted --text PROMPT, or --prompts_file FILE"),
    "no file": (["--prompts-file", "none.txt"], {}, "none.txt cannot be read (No such file or directory)"),
    "a folder": (["--prompts-file", "."], {}, ". cannot be read (Is a directory)"),
    "an empty file": (["--prompts-file", os.devnull], {}, "holds no prompt; wanted one a line"),
    "no text": (["--prompts-file", str(ROOT / "docs" / "words.png")], {}, "line 1 is not UTF-8 at byte 1"),
    "a shared pipe": (["--prompts-file", "-"], {"WORLD_SIZE": "2"}, "cannot be read by 2 processes"),
    "no such process": (["--text", "yes"], {"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2 WORLD_SIZE=2"),
}


@pytest.mark.parametrize(("flags", "values", "found"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_before_anything_is_loaded(
    here: Path, flags: list[str], values: dict[str, str], found: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    assert main(["sample", "--checkpoint", "none.pt", *flags]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and found in err
    assert not list(here.iterdir())


# ---- Going on -------------------------------------------------------------------------------------------------------

LOST = {
    "none": [],
    "the first": [0],
    "all after a batch": [3, 4, 5, 6],
    "all after a clip within a batch": [4, 5, 6],
    "one of each batch": [1, 5, 6],
    "all but one": [0, 1, 2, 3, 5, 6],
}


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
def test_a_run_that_goes_on_gives_the_files_of_an_uninterrupted_one_and_touches_none_that_is_there(
    sample: Sample, whole: Path, folder: Path, names: list[str], lost: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    for path in folder.iterdir():
        os.utime(path, (0, 0))
    for place in lost:
        (folder / names[place]).unlink()
    assert sample(folder) == 0
    assert files_below(folder) == files_below(whole)
    assert [place for place, name in enumerate(names) if (folder / name).stat().st_mtime] == lost
    out, err = capsys.readouterr()
    assert out.splitlines() == [str(folder / name) for name in names]
    kept = len(PROMPTS) - len(lost)
    assert err.endswith(f"{folder}: {len(lost)} clips written, {kept} skipped\n") and "made again" not in err


@pytest.mark.parametrize("num_steps", [1, 12, 23])
def test_a_run_that_stops_at_any_step_leaves_whole_batches_and_goes_on(
    loaded: LoadedModel, whole: Path, tmp_path: Path, num_steps: int
) -> None:
    heard = []

    def stop(num_clips: int) -> None:
        heard.append(num_clips)
        if len(heard) == num_steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(work(loaded, queue_of(loaded, tmp_path), on_step=stop))
    assert len(list(tmp_path.iterdir())) == (num_steps - 1) // 8 * BATCH_SIZE
    rest = [is_new for _, is_new in work(loaded, queue_of(loaded, tmp_path))]
    assert len(rest) == 7 and sum(rest) == 7 - (num_steps - 1) // 8 * BATCH_SIZE
    assert files_below(tmp_path) == files_below(whole)


def test_ctrl_c_keeps_what_is_written_and_says_how_to_go_on(rough: Path, tmp_path: Path) -> None:
    arguments = ["sample", "--checkpoint", str(rough), "--output", str(tmp_path), "--text", "yes"]
    command = [sys.executable, str(ROOT / "main.py"), *arguments, "--num_samples", "500", "--batch_size", "2"]
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=surroundings)
    while not list(tmp_path.glob("*.gif")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130, err
    found = sorted(tmp_path.iterdir())
    assert set(out.splitlines()) <= {str(path) for path in found} and 0 < len(found) < 500
    assert all(len(read_frames(path)) == 4 and path.suffix == ".gif" for path in found)
    last = err.splitlines()[-1]
    assert last.startswith(f"{tmp_path}: interrupted, ") and last.endswith(" left. Go on with the same command.")


def other_weights(rough: Path, path: Path) -> Path:
    """Of the same step, so that clips have the same names."""
    content = checkpoint.load(rough)
    content["ema"] = {name: value * 1.01 for name, value in content["ema"].items()}
    checkpoint.save(path, content)
    return path


OTHERS = {
    "empty": (lambda path: path.write_bytes(b""), "is empty (0 bytes); wanted a GIF"),
    "cut short": (lambda path: path.write_bytes(path.read_bytes()[:-9]), "was cut short after"),
    "no frame": (lambda path: path.write_bytes(bent(path.read_bytes())), "cannot be decoded"),
    "no clip of ours": (lambda path: write_clip(path, moving_square(0), fps=8), "has no comment"),
    "another size": (
        lambda path: write_clip(path, moving_square(0, num_frames=3), fps=8, comment=read_comment(path)),
        "has frames of shape (3, 16, 16, 3); wanted (4, 16, 16, 3).",
    ),
}


def bent(data: bytes) -> bytes:
    """The same blocks, but the first frame's pixels begin with a code that no decoder knows."""
    at = data.index(b"\x2c", data.index(b"\x21\xf9\x04")) + 10
    at += 3 << ((data[at - 1] & 7) + 1)
    return data[: at + 2] + b"\xff" * data[at + 1] + data[at + 2 + data[at + 1] :]


@pytest.mark.parametrize(("change", "found"), OTHERS.values(), ids=OTHERS)
def test_a_file_that_is_no_whole_clip_of_ours_is_made_again_and_said(
    sample: Sample, whole: Path, folder: Path, names: list[str], change: Callable[[Path], object], found: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    change(folder / names[4])
    assert sample(folder) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("made again: ")]
    assert len(lines) == 1 and lines[0].startswith(f"made again: {folder / names[4]}") and found in lines[0]
    assert files_below(folder) == files_below(whole)


def test_clips_of_other_weights_or_settings_with_the_same_names_are_made_again(
    sample: Sample, rough: Path, whole: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = other_weights(rough, tmp_path / "other.pt")
    changes = {"checkpoint_sha256 ": ([], other), "fps 6.452, wanted 5.0.": (["--fps", "5"], other)}
    changes["precision 'bfloat16', wanted 'float32'."] = (["--fps", "5", "--set", "MIXED_PRECISION=no"], other)
    for found, (flags, path) in changes.items():
        assert sample(folder, *flags, checkpoint=path) == 0
        err = capsys.readouterr().err
        assert err.count(f"is another clip: {found}") == 7
        assert err.endswith("7 clips written, 0 skipped\n")
    assert sample(folder) == 0
    assert files_below(folder) == files_below(whole)


def test_a_clip_that_is_there_counts_in_another_batch_too(
    sample: Sample, folder: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample(folder, "--batch_size", "2", "--text", "please") == 0
    assert capsys.readouterr().err.endswith(f"{folder}: 1 clips written, 7 skipped\n")
    assert files_below(whole).items() <= files_below(folder).items()


def test_overwrite_makes_all_again(sample: Sample, whole: Path, folder: Path) -> None:
    for path in folder.iterdir():
        os.utime(path, (0, 0))
    assert sample(folder, "--overwrite") == 0
    assert all(path.stat().st_mtime for path in folder.iterdir()) and files_below(folder) == files_below(whole)


def test_a_folder_in_the_place_of_a_clip_is_a_users_error_before_anything_is_made(
    sample: Sample, names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / names[6]).mkdir()
    for more in ([], ["--overwrite"]):
        assert sample(tmp_path, *more) == 2
        assert f"error: {tmp_path / names[6]} is a folder, and a clip has this name" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [names[6]]


# ---- Memory and processes -------------------------------------------------------------------------------------------


def test_no_more_than_a_batch_is_held_and_each_is_written_as_it_is_done(loaded: LoadedModel, tmp_path: Path) -> None:
    steps, held, num_files = 0, [], []

    def look(num_clips: int) -> None:
        nonlocal steps
        steps += 1
        if steps in (16, 32):  # the last of the second batch, and of the fourth
            gc.collect()
            things = gc.get_objects()
            lists = [thing for thing in things if type(thing) is list and thing and type(thing[0]) is np.ndarray]
            held.append((sum(map(len, lists)), sum(type(thing) is torch.Tensor for thing in things)))
            num_files.append(len(list(tmp_path.iterdir())))

    requests = [Request(prompt, seed) for seed in range(2) for prompt in PROMPTS[:6]]
    for _ in work(loaded, make_queue(loaded, requests, tmp_path, process=World()), on_step=look):
        pass
    assert num_files == [3, 9]
    assert len(set(held)) == 1


@pytest.mark.parametrize("size", [2, 5])
def test_processes_share_the_batches_and_their_files_are_those_of_one(
    sample: Sample, whole: Path, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("WORLD_SIZE", str(size))
    printed = []
    for rank in random.Random(size).sample(range(size), size):
        monkeypatch.setenv("RANK", str(rank))
        before = set(tmp_path.iterdir())
        assert sample(tmp_path) == 0
        out, err = capsys.readouterr()
        own = set(tmp_path.iterdir()) - before
        assert {Path(line) for line in out.splitlines()} == own
        last = f"{tmp_path}, process {rank + 1} of {size}: {len(own)} clips written, 0 skipped"
        assert err.splitlines()[-1] == last and (rank == 0 or err == last + "\n")
        printed += out.splitlines()
    assert len(set(printed)) == len(printed) == len(PROMPTS)
    assert files_below(tmp_path) == files_below(whole)


def test_a_clip_of_a_shared_and_resumed_run_can_be_reproduced(sample: Sample, folder: Path, names: list[str]) -> None:
    (folder / names[5]).unlink()
    assert sample(folder) == 0
    assert main(["reproduce", str(folder / names[5])]) == 0
