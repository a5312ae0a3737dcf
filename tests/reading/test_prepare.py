"""utils/reading/prepare.py and ``prepare-data --videos``: films to pairs that training reads, none lost unsaid."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataset import TextToSignDataset
from main import main
from tests.conftest import files_below
from tests.reading.films import film, numbers
from utils.gif import read_gif
from utils.reading.prepare import MAX_FPS, Settings, prepare_videos
from utils.split import split_by_file

PLAIN = Settings(32, crop="centre", trim=False)


def folder_of_films(folder: Path) -> Path:
    """Two films with texts, one cut short, one that nobody lists, a text without a film."""
    folder.mkdir(parents=True)
    for name, rate in (("hello", 10), ("thank you", 12)):
        film(folder / f"{name}.mp4", rate=rate)
        (folder / f"{name}.txt").write_text(name)
    broken = film(folder / "broken.mp4", options={"movflags": "faststart"})
    broken.write_bytes(broken.read_bytes()[:-900])
    (folder / "broken.txt").write_text("broken")
    film(folder / "unlisted.webm", codec="libvpx-vp9")
    (folder / "lost.txt").write_text("lost")
    return folder


def test_every_film_becomes_a_pair_or_a_line_and_the_numbers_add_up(tmp_path: Path) -> None:
    output = tmp_path / "out"
    report = prepare_videos(folder_of_films(tmp_path / "in"), output, PLAIN)
    assert sorted(report.written) == ["hello", "thank you"] and report.kept == []
    assert len(report.written) + len(report.left_out) == report.num_listed == 4
    told = " ".join(report.left_out)
    assert "broken.mp4: cut short" in told and "lost.txt: no clip" in told
    assert len(report.unlisted) == 1 and "unlisted.webm" in report.unlisted[0]
    frames, delays = read_gif(output / "hello.gif")
    assert numbers(frames) == list(range(12)) and sum(delays) == 1200
    data = TextToSignDataset(output, num_frames=4, image_size=32)
    assert data.texts == ["hello", "thank you"] and data.problems == []


def test_running_again_keeps_what_is_there_and_makes_anew_what_changed(tmp_path: Path) -> None:
    source, output = folder_of_films(tmp_path / "in"), tmp_path / "out"
    prepare_videos(source, output, PLAIN)
    before = files_below(output)
    assert prepare_videos(source, output, PLAIN).written == [] and files_below(output) == before
    film(source / "hello.mp4", 6)
    (source / "thank you.txt").write_text("thanks")
    (output / "hello.txt").unlink()
    report = prepare_videos(source, output, PLAIN)
    assert sorted(report.written) == ["hello", "thank you"] and (output / "thank you.txt").read_text() == "thanks\n"
    assert sorted(prepare_videos(source, output, Settings(16, crop="centre")).written) == ["hello", "thank you"]


def table(folder: Path, rows: list[str]) -> Path:
    folder.mkdir()
    film(folder / "a.mp4", rate=50)
    film(folder / "b.mp4")
    (folder / "metadata.csv").write_text("\n".join(["file_name,text,start,end,split,signer", *rows]) + "\n")
    return folder


def test_official_splits_are_honoured(tmp_path: Path) -> None:
    rows = ["a.mp4,one,0,0.12,train,s1", "a.mp4,two,0.12,,val,s1", "b.mp4,three,,,test,s1"]
    output = tmp_path / "out"
    report = prepare_videos(table(tmp_path / "in", rows), output, PLAIN)
    assert (report.num_validation, report.num_test) == (1, 1)
    assert [path.stem for path in (tmp_path / "out_test").glob("*.gif")] == ["b"]
    data = TextToSignDataset(output, num_frames=4, image_size=32)
    training, held_out = split_by_file(data.names, output / "held_out.json")
    assert [data.texts[row] for row in training] == ["one"] and [data.texts[row] for row in held_out] == ["two"]


def test_without_a_split_signers_stay_together_and_a_high_rate_is_thinned(tmp_path: Path) -> None:
    output = tmp_path / "out"
    prepare_videos(table(tmp_path / "in", ["a.mp4,one,,,,s1", "b.mp4,two,,,,s__2"]), output, PLAIN)
    assert sorted(path.name for path in output.glob("*.gif")) == ["s1__a.gif", "s_2__b.gif"]
    frames, _ = read_gif(output / "s1__a.gif")
    assert len(frames) == round(12 / 50 * MAX_FPS)


def test_a_recording_without_times_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.reading.prepare.MAX_SECONDS", 1.0)
    report = prepare_videos(table(tmp_path / "in", ["b.mp4,two,,,,"]), tmp_path / "out", PLAIN)
    assert "b.mp4: 1 s; wanted at most 1, by start and end" in report.left_out[0]


@pytest.mark.parametrize("crop", ["signer", "set", "centre"])
def test_the_command_says_what_to_do_next(crop: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = folder_of_films(tmp_path / "in"), tmp_path / "out"
    command = ["prepare-data", "--videos", str(source), "--output", str(output), "--crop", crop]
    assert main([*command, "--set", "IMAGE_SIZE=16"]) == 0
    assert f"Next: python main.py train --set DATA_DIR={output}" in capsys.readouterr().out
    assert read_gif(output / "hello.gif")[0].shape[1:] == (16, 16, 3)


def test_a_folder_that_is_not_there_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare-data", "--videos", str(tmp_path / "none"), "--output", str(tmp_path)]) == 2
    assert "none is no folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--words", "x.txt"], "takes neither"),
        (["--output", "{in}"], "wanted another one"),
        (["--layout", "how3sign"], "is unknown; wanted auto"),
        (["--layout", "how2sign"], "holds no clip that can be used"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    flags: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = folder_of_films(tmp_path / "in")
    before = files_below(source)
    filled = [flag.replace("{in}", str(source)) for flag in flags]
    assert main(["prepare-data", "--videos", str(source), "--output", str(tmp_path / "out"), *filled]) == 2
    assert reason in capsys.readouterr().err.splitlines()[-1]
    assert files_below(source) == before
