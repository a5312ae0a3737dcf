"""main.py: every command for real at debug size, and every user's mistake as one line and exit code 2."""

from __future__ import annotations

import html
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import config as settings
from config import make_config
from main import main
from methods.trainer import Trainer
from tests.conftest import command_settings, files_below
from tests.data.pictures import delays_of
from utils.reading.reader import read_frames

ROOT = Path(__file__).resolve().parents[2]


# ---- Config ---------------------------------------------------------------------------------------------------------


def test_config_shows_every_setting_and_marks_what_changed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--preset", "debug", "--set", "SEED=7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = {line.split()[0]: line for line in lines if line and line.split()[0].isupper()}
    config, changed = (
        make_config("debug", {"SEED": 7}),
        settings.differences(make_config("debug", {"SEED": 7}), settings.Config()),
    )
    assert shown.keys() == {*settings.field_types(), "INPUT_SHAPE"}
    for name, value in config.to_dict().items():
        assert repr(value) in shown[name]
        assert (f"* default {changed[name][0]!r}" in shown[name]) if name in changed else ("*" not in shown[name])
    assert "(3, 4, 16, 16)" in shown["INPUT_SHAPE"]
    assert (
        lines[-1] == f"preset debug; {len(changed)} of {len(settings.field_types())} settings differ from the defaults"
    )


# ---- Mistakes -------------------------------------------------------------------------------------------------------

Arguments = Callable[[Path, Path], list[str]]  # (working directory, checkpoint) -> command line


def on_debug(command: str, *more: str) -> Arguments:
    return lambda here, ckpt: [command, "--preset", "debug", *more]


def on_checkpoint(*more: str) -> Arguments:
    return lambda here, ckpt: ["sample", "--checkpoint", str(ckpt), *more]


MISTAKES: dict[str, tuple[Arguments, str]] = {
    "unknown key": (on_debug("train", "--set", "BATCHSIZE=2"), "no setting 'BATCHSIZE'. Did you mean BATCH_SIZE?"),
    "no value": (on_debug("train", "--set", "SEED"), "wanted KEY=VALUE"),
    "bad value": (on_debug("train", "--set", "BATCH_SIZE=many"), "BATCH_SIZE='many' is str; wanted int"),
    "outside limits": (on_debug("train", "--set", "BATCH_SIZE=0"), "outside its limits; wanted >= 1"),
    "unknown preset": (lambda here, ckpt: ["config", "--preset", "debgu"], "Did you mean debug?"),
    "missing folder": (on_debug("train", "--set", "DATA_DIR=nowhere"), "DATA_DIR=nowhere is no folder"),
    "empty folder": (on_debug("train", "--set", "DATA_DIR=."), "holds no usable clip. It is empty of clips."),
    "nothing to resume": (on_debug("train", "--resume"), "latest_checkpoint.pt does not exist"),
    "missing checkpoint": (
        lambda here, ckpt: ["sample", "--text", "a", "--checkpoint", "none.pt"],
        "none.pt does not exist. See what there is: python main.py checkpoints",
    ),
    "text as checkpoint": (
        lambda here, ckpt: ["sample", "--text", "a", "--checkpoint", str(ROOT / "pyproject.toml")],
        "cannot be read as a checkpoint",
    ),
    "text to be evaluated": (
        lambda here, ckpt: ["evaluate", "--checkpoint", str(ROOT / "pyproject.toml")],
        "cannot be read as a checkpoint",
    ),
    "too many steps": (
        on_checkpoint("--text", "a", "--steps", "51"),
        "INFERENCE_TIMESTEPS=51 is more than TIMESTEPS=50",
    ),
    "no steps": (on_checkpoint("--text", "a", "--steps", "0"), "INFERENCE_TIMESTEPS=0 is outside its limits"),
    "empty text": (on_checkpoint("--text", "  "), "--text is empty"),
    "text that is no UTF-8": (on_checkpoint("--text", "caf\udce9"), "--text is not UTF-8 at byte 4"),
    "a text of 1 MB": (
        on_checkpoint("--text", "x" * 1_000_000),
        "--text has more than 10,000 bytes; wanted one prompt",
    ),
    "no samples": (on_checkpoint("--text", "a", "--num_samples", "0"), "--num_samples 0; wanted at least 1"),
    "no clips at a time": (on_checkpoint("--text", "a", "--batch_size", "0"), "--batch_size 0; wanted at least 1"),
    "eta": (on_checkpoint("--text", "a", "--eta", "1.5"), "ETA=1.5 is outside its limits"),
    "guidance": (on_checkpoint("--text", "a", "--guidance_scale", "nan"), "GUIDANCE_SCALE=nan is outside its limits"),
    "sampler": (on_checkpoint("--text", "a", "--sampler", "dpm"), "Wanted one of: ddim, ddpm"),
    "fps": (on_checkpoint("--text", "a", "--fps", "51"), "FPS=51.0 is outside its limits; wanted >= 0 and <= 50"),
    "model key": (
        on_checkpoint("--text", "a", "--set", "NUM_FRAMES=8"),
        "a checkpoint's model cannot be changed by --set",
    ),
    "missing data to evaluate": (
        lambda here, ckpt: ["evaluate", "--checkpoint", str(ckpt), "--data", "nowhere"],
        "DATA_DIR=nowhere is no folder",
    ),
    "no clips to evaluate": (
        lambda here, ckpt: ["evaluate", "--checkpoint", str(ckpt), "--max_clips", "0"],
        "--max_clips 0; wanted at least 2",
    ),
    "fewer than no clips": (
        lambda here, ckpt: ["evaluate", "--checkpoint", str(ckpt), "--max_clips", "-3"],
        "--max_clips -3; wanted at least 2",
    ),
    "no such config file": (
        lambda here, ckpt: ["fix-config", "--checkpoint", str(ckpt), "--file", "none.py"],
        "none.py cannot be read (No such file or directory)",
    ),
    "nothing to fit": (lambda here, ckpt: ["fix-config", "--checkpoint", "none.pt"], "none.pt does not exist"),
}
if not torch.cuda.is_available():
    MISTAKES["absent device"] = (
        on_debug("train", "--set", "DEVICE=cuda"),
        "DEVICE=cuda is not present on this machine",
    )
    MISTAKES["absent device to sample"] = (
        on_checkpoint("--text", "a", "--set", "DEVICE=cuda"),
        "DEVICE=cuda is not present on this machine",
    )
    MISTAKES["precision"] = (
        on_debug("train", "--set", "DEVICE=cpu", "--set", "MIXED_PRECISION=fp16"),
        "MIXED_PRECISION=fp16 needs a GPU",
    )


@pytest.mark.parametrize(("arguments", "found"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2_and_nothing_is_written(
    arguments: Arguments, found: str, here: Path, trained_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(here, trained_checkpoint)) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and found in err
    assert list(here.iterdir()) == []


def test_an_encoder_that_cannot_be_reached_is_one_line_after_what_was_read(
    here: Path, clips_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command_settings(here, clips_folder, TEXT_ENCODER="distilbert-base-uncased")
    assert main(["train", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"data: 8 clips with 8 captions in {clips_folder}"
    assert len(lines) == 2 and lines[1].startswith("error: TEXT_ENCODER=distilbert-base-uncased cannot be loaded")
    assert [path.name for path in here.iterdir()] == ["cache"]  # what was decoded is of use next time


def test_as_a_process_a_mistake_is_exit_code_2_without_a_traceback(here: Path) -> None:
    command = [sys.executable, str(ROOT / "main.py"), "train", "--preset", "debug", "--set", "DATA_DIR=nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: DATA_DIR=nowhere") and done.stderr.count("\n") == 1


def test_a_second_run_over_the_first_is_refused(
    trained_run: Path, clips_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_below(trained_run)
    assert main(["train", *command_settings(trained_run, clips_folder)]) == 2
    assert "exists already. Go on with it: add --resume" in capsys.readouterr().err
    assert files_below(trained_run) == before


def test_an_output_that_is_a_file_is_a_users_error(
    here: Path, learnt_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "taken").write_text("mine")
    for output in ("taken", "taken/below"):
        assert main(["evaluate", "--checkpoint", str(learnt_checkpoint), "--output", output]) == 2
        assert f"error: {output} cannot be a folder (" in capsys.readouterr().err
    assert files_below(here) == {"taken": b"mine"}


def test_set_may_ask_for_as_many_steps_as_the_checkpoint_has(
    here: Path, debug_config: Callable[..., settings.Config], capsys: pytest.CaptureFixture[str]
) -> None:
    path = Trainer(debug_config(TIMESTEPS=100)).save()
    arguments = ["sample", "--checkpoint", str(path), "--text", "yes", "--output", "out"]
    assert main([*arguments, "--steps", "60"]) == 0
    assert main([*arguments, "--set", "INFERENCE_TIMESTEPS=60"]) == 0


# ---- Train, checkpoints ---------------------------------------------------------------------------------------------


def test_resuming_a_finished_run_says_so(
    trained_run: Path, clips_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_below(trained_run)
    assert main(["train", *command_settings(trained_run, clips_folder), "--resume"]) == 0
    assert "is at step 8 of 8: finished. Raise NUM_EPOCHS to go on." in capsys.readouterr().out
    assert files_below(trained_run) == before


def test_training_goes_on_with_more_epochs_and_keeps_what_was_there(
    here: Path, clips_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command_settings(here, clips_folder, NUM_EPOCHS=1, SAMPLE_EVERY_EPOCHS=0)
    assert main(["train", *arguments]) == 0
    first = files_below(here / "checkpoints")
    capsys.readouterr()
    assert main(["train", *arguments, "--set", "NUM_EPOCHS=2", "--resume"]) == 0
    out, err = capsys.readouterr()
    assert "changed: NUM_EPOCHS 1 -> 2" in err.splitlines()
    assert out.startswith("Finished at step 8 of 8; saved ") and "see them: tensorboard --logdir" in out
    kept = files_below(here / "checkpoints")
    name = "debug/checkpoint_epoch_0001.pt"
    assert kept[name] == first[name] and "debug/checkpoint_epoch_0002.pt" in kept


def test_bad_files_are_named_while_the_rest_is_trained_on(
    here: Path, clips_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = here / "data"
    data.mkdir()
    for name, value in files_below(clips_folder).items():
        (data / name).write_bytes(value)
    (data / "signer0__clip0.gif").write_bytes(b"")
    assert main(["train", *command_settings(here, data, NUM_EPOCHS=1, SAMPLE_EVERY_EPOCHS=0)]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"left out: {data}/signer0__clip0.gif: empty, 0 bytes")
    assert f"data: 7 clips with 7 captions in {data}, 1 left out" in lines


def test_without_checkpoints_the_list_says_how_to_make_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checkpoints"]) == 0
    assert "No checkpoints in checkpoints/. Make one: python main.py train" in capsys.readouterr().out


def test_prepare_data_says_where_the_clips_are_and_how_to_train_on_them(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["prepare-data", "--set", "IMAGE_SIZE=16", "--set", "NUM_FRAMES=2", "--languages"]
    assert main([*small, "ase"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "Clips are in training_data/ase",
        "Next: python main.py train --set DATA_DIR=training_data/ase",
    ]
    assert main([*small, "ase", "gss", "--output", "my data"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "Clips are in my data/ase, my data/gss",
        "Next: python main.py train --set 'DATA_DIR=my data'",
    ]
    assert main([*small, "ase", "--copies", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "52 clips written."
    assert main([*small, "ase", "--copies", "-1"]) == 2
    assert capsys.readouterr().err == "error: --copies -1; wanted 0 or more.\n"
    Path("words.txt").write_text("b\n")
    assert main([*small, "ase", "--words", "words.txt"]) == 0
    assert "Next: python main.py train --set DATA_DIR=training_data/ase_words" in capsys.readouterr().out


# ---- Sample, evaluate -----------------------------------------------------------------------------------------------


def sampled(trained_checkpoint: Path, folder: Path, *more: str) -> dict[str, np.ndarray]:
    """Name -> frames of the clips that a ``sample`` wrote."""
    arguments = ["sample", "--checkpoint", str(trained_checkpoint), "--output", str(folder)]
    assert main([*arguments, *more]) == 0
    return {path.name: read_frames(path) for path in sorted(folder.iterdir())}


def test_sample_writes_readable_gifs_and_prints_their_paths(
    trained_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = sampled(trained_checkpoint, tmp_path / "a", "--text", "yes", "--text", "thank you", "--num_samples", "2")
    assert len(clips) == 4 and all(frames.shape == (4, 16, 16, 3) for frames in clips.values())
    out, err = capsys.readouterr()
    assert sorted(out.split()) == [str(tmp_path / "a" / name) for name in clips]
    assert (
        f"model: {trained_checkpoint}, step 8, tinyfusion DiT-XXS/8, averaged weights, cpu, 8 at a time"
        in err.splitlines()
    )


def test_the_same_seed_gives_the_same_file_again_and_the_same_clip_in_another_batch(
    trained_checkpoint: Path, tmp_path: Path
) -> None:
    common = ["--text", "yes", "--num_samples", "4", "--seed", "11"]
    first = sampled(trained_checkpoint, tmp_path / "a", *common, "--batch_size", "4")
    sampled(trained_checkpoint, tmp_path / "b", *common, "--batch_size", "4")
    assert files_below(tmp_path / "a") == files_below(tmp_path / "b")
    single = sampled(trained_checkpoint, tmp_path / "c", *common, "--batch_size", "1")
    assert first.keys() == single.keys() and all("seed11" in name for name in first)
    for name, frames in first.items():
        assert int(np.abs(frames.astype(int) - single[name]).max()) <= 1  # a level, where rounding falls the other way
    other = sampled(trained_checkpoint, tmp_path / "d", "--text", "yes", "--seed", "12")
    assert not np.array_equal(*(next(iter(clips.values())) for clips in (first, other)))


@pytest.mark.parametrize(
    "flags",
    [["--eta", "1"], ["--sampler", "ddpm"], ["--guidance-scale", "0"], ["--steps", "50"], ["--set", "ETA=0.5"]],
    ids=str,
)
def test_every_sampling_flag_changes_the_clip(trained_checkpoint: Path, tmp_path: Path, flags: list[str]) -> None:
    plain = sampled(trained_checkpoint, tmp_path / "a", "--text", "yes")
    changed = sampled(trained_checkpoint, tmp_path / "b", "--text", "yes", *flags)
    assert plain.keys() != changed.keys()  # the name says so
    assert not np.array_equal(next(iter(plain.values())), next(iter(changed.values())))


def test_fps_sets_the_delays(trained_checkpoint: Path, tmp_path: Path) -> None:
    sampled(trained_checkpoint, tmp_path, "--text", "yes", "--fps", "50")
    assert delays_of(next(tmp_path.iterdir())) == [20] * 4


def test_sample_finds_the_latest_checkpoint_of_the_experiment(
    trained_run: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--set", f"CHECKPOINT_DIR={trained_run / 'checkpoints'}", "--set", f"SAMPLE_DIR={here}"]
    assert main(["sample", "--preset", "debug", *places, "--text", "yes"]) == 0
    assert capsys.readouterr().out.startswith(
        f"{here / 'debug' / 'samples' / 'yes_step000008_4xeta0_guide2_seed42_00'}"
    )


def test_evaluate_prints_its_table_and_writes_the_report(
    learnt_checkpoint: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--output", "out", "--max_clips", "3", "--recogniser_steps", "2", "--clips_per_caption", "1"]
    assert main(["evaluate", "--checkpoint", str(learnt_checkpoint), *few]) == 0
    out = capsys.readouterr().out
    assert "prompt ranking" in out and "retrieval of generated clips" in out and "page: out/report.html" in out
    assert "contact sheet: out/contact_sheet_held_out.png" in out
    assert json.loads((here / "out" / "evaluation.json").read_text())["parts"]["train"]["num_clips"] == 3
    command = shlex.join(["python", "main.py", "evaluate", "--checkpoint", str(learnt_checkpoint), *few])
    assert html.escape(command) in (here / "out" / "report.html").read_text()
