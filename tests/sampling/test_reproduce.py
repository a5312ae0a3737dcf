"""``reproduce``: a clip made again in another process, and everything that keeps it from being the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from main import main
from methods.sampling.provenance import Provenance, read
from methods.sampling.reproduce import difference
from tests.conftest import files_below, moving_square
from utils.checkpoints import file as checkpoint
from utils.reading.reader import read_frames
from utils.writing import write_clip

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = ("yes", "where is the station now please", "thank you")


@pytest.fixture(scope="module")
def clips(trained_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three prompts in one batch, and one alone; read only."""
    folder = tmp_path_factory.mktemp("clips")
    together = [part for prompt in PROMPTS for part in ("--text", prompt)]
    for name, texts in (("batch", together), ("single", ["--text", "yes"])):
        arguments = ["sample", "--checkpoint", str(trained_checkpoint), "--output", str(folder / name), *texts]
        assert main([*arguments, "--eta", "0.5", "--seed", "3"]) == 0
    return sorted(folder.rglob("*.gif"))


@pytest.fixture
def clip(clips: list[Path], here: Path) -> Path:
    """One of the batch, alone in a folder of its own."""
    return Path(shutil.copy(clips[0], here / "clip.gif"))


def rewritten(clip: Path, **values: object) -> Provenance:
    """Put other facts into the comment of ``clip``."""
    facts = replace(read(clip), **values)
    write_clip(clip, read_frames(clip), fps=facts.fps, comment=facts.to_json())
    return facts


def python(*arguments: str, num_threads: int = 1) -> subprocess.CompletedProcess[str]:
    """Another process."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(num_threads), "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, env=environment)


# ---- The same -------------------------------------------------------------------------------------------------------


def test_every_clip_of_a_batch_and_a_single_one_come_again_bit_for_bit_in_another_process(
    clips: list[Path], tmp_path: Path
) -> None:
    assert [(read(path).batch_size, path.parent.name) for path in clips] == [(3, "batch")] * 3 + [(1, "single")]
    outputs = [tmp_path / f"{number}.gif" for number in range(len(clips))]
    pairs = [(str(path), str(output)) for path, output in zip(clips, outputs, strict=True)]
    code = f"from main import main\nfor path, output in {pairs}:\n"
    code += "    assert main(['reproduce', path, '--output', output]) == 0"
    done = python("-c", code, num_threads=2)
    assert done.returncode == 0 and "note:" not in done.stderr, done.stderr
    assert done.stdout.splitlines() == [f"{output}: the same bytes as {path}" for path, output in pairs]
    for path, output in zip(clips, outputs, strict=True):
        assert output.read_bytes() == path.read_bytes()


def test_the_exit_code_of_the_process_is_that_of_the_comparison(clip: Path, here: Path) -> None:
    done = python(str(ROOT / "main.py"), "reproduce", "clip.gif")
    assert (done.returncode, done.stdout) == (0, "clip_reproduced.gif: the same bytes as clip.gif\n"), done.stderr


@pytest.mark.parametrize(("precision", "steps"), [("no", "25"), ("bf16", "8")])
def test_a_clip_comes_again_where_a_rounding_would_become_another_clip(
    trained_checkpoint: Path, here: Path, precision: str, steps: str
) -> None:
    """Rough weights, many steps and strong guidance carry one rounding into hundreds of pixels.

    So this fails where size, place, text length or the number of threads is not restored.
    """
    content = checkpoint.load(trained_checkpoint)
    draw = torch.Generator().manual_seed(0)
    for name, value in content["ema"].items():
        content["ema"][name] = value + 0.3 * torch.randn(value.shape, generator=draw)
    checkpoint.save(here / "rough.pt", content)
    texts = [part for prompt in (*PROMPTS, "no", "good morning", "please") for part in ("--text", prompt)]
    flags = ["--steps", steps, "--guidance_scale", "6", "--sampler", "ddpm", "--fps", "5", "--batch_size", "5"]
    flags += ["--set", f"MIXED_PRECISION={precision}", "--set", "TINYFUSION_FRAME_CHUNK_SIZE=3"]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert main(["sample", "--checkpoint", "rough.pt", "--output", "out", *texts, *flags]) == 0
        first, *_, last = sorted((here / "out").iterdir())
        for path in (first, last):
            torch.set_num_threads(1)
            assert main(["reproduce", str(path)]) == 0 and torch.get_num_threads() == 2, read(path)
    finally:
        torch.set_num_threads(before)


def test_a_preview_of_training_comes_again(trained_run: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    latest = checkpoint.load(trained_run / "checkpoints" / "debug" / "latest_checkpoint.pt")["sha256"]
    previews = [path for path in trained_run.rglob("previews/*.gif") if read(path).checkpoint_sha256 == latest]
    assert previews
    for path in previews:
        assert main(["reproduce", str(path), "--output", "again.gif"]) == 0
        assert (here / "again.gif").read_bytes() == path.read_bytes()


def test_without_output_it_lies_beside_the_clip(clip: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "clip.gif"]) == 0
    assert capsys.readouterr().out == "clip_reproduced.gif: the same bytes as clip.gif\n"
    found = files_below(here)
    assert found.keys() == {"clip.gif", "clip_reproduced.gif"} and len(set(found.values())) == 1


def test_the_checkpoint_may_have_moved(
    clip: Path, here: Path, trained_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewritten(clip, checkpoint="gone/latest.pt")
    assert main(["reproduce", "clip.gif"]) == 2
    assert "gone/latest.pt does not exist here. Give the right file: --checkpoint PATH" in capsys.readouterr().err
    assert main(["reproduce", "clip.gif", "--checkpoint", str(trained_checkpoint)]) == 0
    (here / "gone").mkdir()
    shutil.copy(trained_checkpoint, here / "gone" / "kept.pt")
    assert main(["reproduce", "clip.gif"]) == 2
    assert "gone/kept.pt has them: --checkpoint gone/kept.pt\n" in capsys.readouterr().err


# ---- Not the same ---------------------------------------------------------------------------------------------------


def test_other_pixels_are_counted_and_measured(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    comment, frames = read(clip).to_json(), read_frames(clip)
    frames[0, 0, 0] = frames[0, 0, 0] ^ 1
    frames[2, 5, 7, 1] ^= 8
    write_clip(clip, frames, fps=8, comment=comment)
    wanted = read_frames(clip)
    assert main(["reproduce", str(clip)]) == 1
    found = read_frames(clip.with_name("clip_reproduced.gif"))
    assert f"differs from {clip} {difference(found, wanted)}\n" in capsys.readouterr().out
    num_different, largest = map(int, re.search(r"(\d+) of 1,024 .* (\d+) of", difference(found, wanted)).groups())
    assert num_different >= 2 and largest >= 8


def test_pixels_are_compared_over_all_colours() -> None:
    frames = moving_square(0)
    other = frames.copy()
    other[0, 0, 0] = (0, 7, 3)
    other[3, 9, 9, 2] ^= 255
    assert "in no pixel" in difference(frames, frames)
    wanted = "in 2 of 1,024 pixels, by at most 255 of 255 levels"
    assert difference(frames, other) == difference(other, frames) == wanted


def test_a_clip_of_another_seed_differs(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewritten(clip, seed=4)
    assert main(["reproduce", str(clip)]) == 1
    assert "of 1,024 pixels, by at most" in capsys.readouterr().out


def test_a_file_with_the_same_pixels_and_other_bytes_is_said_to_be_that(
    clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip.write_bytes(clip.read_bytes()[:-1] + b"\x21\xfe\x04GIMP\0;")
    assert main(["reproduce", str(clip)]) == 1
    assert "differs from" in (out := capsys.readouterr().out) and "in its bytes and in no pixel" in out


def test_a_comment_on_another_clip_is_found_out_by_its_size(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_clip(clip, np.zeros((2, 8, 12, 3), np.uint8), fps=8, comment=read(clip).to_json())
    assert main(["reproduce", str(clip)]) == 1
    assert "in its shape: (4, 16, 16, 3), wanted (2, 8, 12, 3)" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="a device that is absent")
def test_other_surroundings_are_named_and_the_clip_made_says_its_own(
    clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read(clip)
    rewritten(clip, torch="1.0", device="cuda", hardware="H100", precision="float16", seed=4)
    assert main(["reproduce", str(clip)]) == 1
    note = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("note: bits may differ"))
    assert f"torch 1.0 -> {torch.__version__}" in note and "device cuda -> cpu" in note and "pillow" not in note
    made = read(clip.with_name("clip_reproduced.gif"))
    precision = made.precision  # auto, by the machine
    assert made == replace(before, seed=4, precision=precision)


# ---- Mistakes -------------------------------------------------------------------------------------------------------

FITS_NOT = "clip.gif has a comment that does not fit"
MISTAKES = {
    "no file": (["none.gif"], {}, "none.gif cannot be read: No such file or directory; wanted a clip"),
    "onto itself": (["clip.gif", "--output", "./clip.gif"], {}, "--output clip.gif is the clip itself"),
    "onto a folder": (["clip.gif", "--output", "."], {}, "--output . is a folder; wanted a file"),
    "another form": (["clip.gif", "--output", "again.mp4"], {}, "again.mp4 is no name for gif; wanted one that ends"),
    "no checkpoint": (["clip.gif", "--checkpoint", "none.pt"], {}, "none.pt does not exist. See what there is"),
    "never saved": (
        ["clip.gif"], {"checkpoint_sha256": "", "checkpoint_sha256_of": "unsaved"}, "that were not saved",
    ),
    "other weights": (["clip.gif"], {"checkpoint_sha256": "0f" * 32}, "made by weights of SHA-256 0f0f0f0f0f0f...; "),
    "steps": (["clip.gif"], {"num_steps": 51}, f"{FITS_NOT}"),
    "few tokens": (["clip.gif"], {"num_tokens": 1}, "num_tokens=1; its prompt has"),
    "many tokens": (["clip.gif"], {"num_tokens": 512}, "num_tokens=512; its prompt has"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "values", "found"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_nothing_is_written(
    clip: Path, here: Path, arguments: list[str], values: dict, found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if values:
        rewritten(clip, **values)
    before = files_below(here)
    assert main(["reproduce", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and found in err
    assert files_below(here) == before


def test_other_weights_at_the_same_path_are_refused_and_the_right_ones_beside_them_named(
    clip: Path, here: Path, trained_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewritten(clip, checkpoint="latest.pt")
    content = checkpoint.load(trained_checkpoint)
    content["step"] += 1
    checkpoint.save(here / "latest.pt", content)
    assert main(["reproduce", "clip.gif"]) == 2
    wanted, found = (checkpoint.load(path)["sha256"][:12] for path in (trained_checkpoint, here / "latest.pt"))
    line = capsys.readouterr().err
    assert line.startswith(f"error: clip.gif was made by weights of SHA-256 {wanted}...; latest.pt has others, of ")
    assert f"SHA-256 {found}.... Give the right file: --checkpoint PATH\n" in line
    shutil.copy(trained_checkpoint, here / "kept it.pt")
    assert main(["reproduce", "clip.gif"]) == 2
    assert capsys.readouterr().err.endswith("kept it.pt has them: --checkpoint 'kept it.pt'\n")
    assert main(["reproduce", "clip.gif", "--checkpoint", "kept it.pt"]) == 0


def test_a_file_that_claims_the_seal_is_read_and_refused(
    clip: Path, here: Path, trained_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(trained_checkpoint.read_bytes())
    data[len(data) // 2] ^= 1
    (here / "bent.pt").write_bytes(data)
    assert main(["reproduce", "clip.gif", "--checkpoint", "bent.pt"]) == 2
    assert "does not fit its own SHA-256" in capsys.readouterr().err


def test_a_comment_that_is_not_ours_is_a_users_error(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_clip(clip, moving_square(0), fps=8, comment=json.dumps({"prompt": "hello"}))
    assert main(["reproduce", str(clip)]) == 2
    assert "has a comment that is not of Text2Sign's sampler" in capsys.readouterr().err
