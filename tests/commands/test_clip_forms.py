"""``sample`` in every form of a clip, and ``reproduce`` of each."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import av
import pytest

from dataset import TextToSignDataset, are_drawn
from main import main
from methods.sampling.loading import load_model
from methods.sampling.provenance import read
from tests.conftest import files_below, moving_square
from utils.checkpoints import file as checkpoint
from utils.fingerspelling.folder import MANIFEST
from utils.reading.reader import read_frames
from utils.writing import FORMS, form_at, read_parts, write_clip


@pytest.fixture
def sample(trained_checkpoint: Path, here: Path):
    """``sample(*flags)`` of one prompt in the working directory; the exit code."""
    return lambda *flags: main(["sample", "--checkpoint", str(trained_checkpoint), "--text", "yes", *flags])


@pytest.mark.parametrize("form", FORMS)
def test_a_clip_of_every_form_is_skipped_when_it_is_there_and_comes_again_bit_for_bit(
    sample, here: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--format", form, "--scale", "3", "--steps", "2", "--output", "out"]
    assert sample(*flags) == 0
    (path,) = Path("out").iterdir()
    assert path.name.endswith(f"_00{FORMS[form].suffix}") and form_at(path) == form and read(path).scale == 3
    assert read_frames(path).shape == (4, 48, 48, 3)
    assert sample(*flags) == 0
    assert capsys.readouterr().err.endswith("out: 0 clips written, 1 skipped\n")
    assert main(["reproduce", str(path)]) == 0
    out, err = capsys.readouterr()
    assert out.endswith(f": the same bytes as {path}\n") and "note:" not in err
    (again,) = set(Path("out").iterdir()) - {path}
    assert read_parts(again) == read_parts(path)
    assert sample(*flags, "--scale", "2") == 0
    assert "is another clip: scale 3, wanted 2." in capsys.readouterr().err


def test_an_mp4_of_another_encoder_is_measured_by_its_pictures_and_the_encoder_named(
    sample, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample("--steps", "2", "--output", "clip.mp4") == 0
    clip = Path("clip.mp4")
    comment = replace(read(clip), pillow="0.1", av="0.2").to_json()
    write_clip(clip, read_frames(clip) ^ 8, fps=8, comment=comment)
    assert main(["reproduce", "clip.mp4"]) == 1
    out, err = capsys.readouterr()
    assert "clip_reproduced.mp4: differs from clip.mp4 in " in out and " of 255 levels\n" in out
    assert f"since the surroundings do: av 0.2 -> {av.__version__}\n" in err
    assert form_at(Path("clip_reproduced.mp4")) == "mp4"


def test_a_clip_of_another_program_is_refused_in_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_clip(Path("mine.mp4"), moving_square(0), fps=8)
    write_clip(Path("told.webp"), moving_square(0), fps=8, comment="holiday")
    Path("song.mp3").write_bytes(b"ID3" + bytes(20))
    found = {
        "mine.mp4": "has no comment",
        "told.webp": "is not of Text2Sign's sampler",
        "song.mp3": "begins with b'ID3",
    }
    for name, message in found.items():
        assert main(["reproduce", name]) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1
    assert len(list(here.iterdir())) == 3


# ---- Which form -----------------------------------------------------------------------------------------------------


def test_clips_are_mp4_where_the_model_learned_from_a_camera_and_gif_where_from_drawings(
    trained_checkpoint: Path, tmp_path: Path
) -> None:
    content = checkpoint.load(trained_checkpoint)
    assert content["data"].pop("drawn") is False
    for data, form in (({"drawn": False}, "mp4"), ({"drawn": True}, "gif"), ({}, "gif")):
        checkpoint.save(tmp_path / "a.pt", {**content, "data": {**content["data"], **data}})
        assert load_model(tmp_path / "a.pt", {"CLIP_FORMAT": "auto"}).form == form


def test_clips_are_drawn_if_prepare_data_drew_all_of_them(clips_folder: Path, tmp_path: Path) -> None:
    for name in ("drawn", "filmed"):
        shutil.copytree(clips_folder, tmp_path / name)
    (tmp_path / "drawn" / MANIFEST).write_text('{"copies": {}}')
    data = TextToSignDataset(tmp_path, num_frames=4, image_size=16)
    drawn = [index for index, name in enumerate(data.names) if name.startswith("drawn/")]
    assert are_drawn(data, drawn) and not are_drawn(data, list(range(len(data))))


# ---- One file -------------------------------------------------------------------------------------------------------


def test_the_name_of_the_only_clip_s_file_tells_its_form(sample, here: Path) -> None:
    assert sample("--steps", "2", "--output", "deep/hello.mp4") == 0
    assert sample("--steps", "2", "--output", "hello.webp", "--format", "webp") == 0
    assert set(files_below(here)) == {"deep/hello.mp4", "hello.webp"}
    with av.open("deep/hello.mp4") as file:
        assert file.streams.video[0].codec_context.name == "h264"


MISTAKES = {
    "form": (["--format", "avi"], "CLIP_FORMAT='avi' is unknown"),
    "scale": (["--scale", "0"], "CLIP_SCALE=0 is outside its limits; wanted >= 1"),
    "disagree": (["--format", "gif", "--output", "a.mp4"], "a.mp4 is no name for gif; wanted one that ends in .gif"),
    "folder": (["--format", "frames", "--output", "a.mp4"], "a.mp4 is no name for frames"),
    "many": (
        ["--num_samples", "2", "--output", "a.mp4"],
        "a.mp4 is a file's name, and 2 clips were asked for",
    ),
    "there": (["--output", "there.mp4"], "--output there.mp4 is there. Add --overwrite"),
    "plain file": (["--output", "notes"], "--output notes is a file; wanted a folder"),
}


@pytest.mark.parametrize(("flags", "found"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_nothing_is_written(
    sample, here: Path, flags: list[str], found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("there.mp4", "notes"):
        Path(name).write_text("mine")
    assert sample(*flags) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and found in err
    assert files_below(here) == {"there.mp4": b"mine", "notes": b"mine"}
