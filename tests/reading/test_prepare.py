"""utils/reading/prepare.py and ``prepare-data --videos``: films to small clips with a table, none lost unsaid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from main import main
from tests.conftest import files_below
from tests.reading.films import film, numbers
from tests.reading.test_landmarks import signer
from utils.fingerspelling.drawing import Points
from utils.layouts.listing import Row
from utils.layouts.registry import read_listing
from utils.reading import pose, prepare
from utils.reading.prepare import Settings, names_of, prepare_videos
from utils.reading.reader import open_source, read_clip

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


def rows_of(folder: Path) -> list[Row]:
    """What a training finds in a prepared folder, which lists all that it holds."""
    layout, listing = read_listing(folder)
    assert layout == "table" and listing.problems == [] and listing.remarks == []
    return listing.rows


@pytest.mark.parametrize("form", ["mp4", "gif"])
def test_every_film_becomes_a_clip_or_a_line_and_the_numbers_add_up(form: str, tmp_path: Path) -> None:
    output = tmp_path / "out"
    report = prepare_videos(folder_of_films(tmp_path / "in"), output, replace(PLAIN, form=form))
    assert report.written == [f"hello.{form}", f"thank you.{form}"] and report.kept == []
    assert len(report.written) + len(report.left_out) == report.num_listed == 4
    told = " ".join(report.left_out)
    assert "broken.mp4: cut short" in told and "lost.txt: no clip" in told
    assert len(report.unlisted) == 1 and "unlisted.webm" in report.unlisted[0]
    first, second = rows_of(output)
    assert (first.text, second.text) == ("hello", "thank you")
    found = read_clip(first, num_frames=12, image_size=32)
    assert numbers(found.frames) == list(range(12)) and found.facts.seconds == pytest.approx(1.2)


def test_the_rate_is_kept_and_a_gif_is_thinned_to_what_it_can_show(tmp_path: Path) -> None:
    source = table(tmp_path / "in", ["a.mp4,one,,,,"], rate=60)
    for form, rate, number in (("mp4", 60, 12), ("gif", 50, 10)):
        prepare_videos(source, tmp_path / form, replace(PLAIN, form=form))
        found = read_clip(rows_of(tmp_path / form)[0], num_frames=4, image_size=32)
        assert found.facts.frames_per_second == pytest.approx(rate, rel=0.02) and found.facts.num_source == number


def test_running_again_keeps_what_is_there_and_makes_anew_what_changed(tmp_path: Path) -> None:
    source, output = folder_of_films(tmp_path / "in"), tmp_path / "out"
    prepare_videos(source, output, PLAIN)
    before = files_below(output)
    assert prepare_videos(source, output, PLAIN).written == [] and files_below(output) == before
    film(source / "hello.mp4", 6)
    (source / "thank you.txt").write_text("thanks")
    report = prepare_videos(source, output, PLAIN)
    assert (report.written, report.kept) == (["hello.mp4"], ["thank you.mp4"])
    assert [row.text for row in rows_of(output)] == ["hello", "thanks"]
    assert len(prepare_videos(source, output, replace(PLAIN, size=16)).written) == 2


def test_an_interrupted_run_loses_nothing_that_it_wrote_and_lists_no_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = folder_of_films(tmp_path / "in"), tmp_path / "out"
    write = prepare.write_clip

    def interrupted(path: Path, *args: object, **how: object) -> None:
        if path.stem == "thank you":
            raise KeyboardInterrupt
        write(path, *args, **how)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(prepare, "write_clip", interrupted)
        prepare_videos(source, output, PLAIN)
    assert list(files_below(output)) == ["hello.mp4"]
    report = prepare_videos(source, output, PLAIN)
    assert (report.written, report.kept) == (["thank you.mp4"], ["hello.mp4"])


def table(folder: Path, rows: list[str], *, rate: int = 50) -> Path:
    folder.mkdir()
    film(folder / "a.mp4", rate=rate)
    film(folder / "b.mp4")
    (folder / "metadata.csv").write_text("\n".join(["file_name,text,start,end,split,signer", *rows]) + "\n")
    return folder


def test_the_data_s_own_split_and_signers_stay_with_the_clips(tmp_path: Path) -> None:
    rows = ["a.mp4,one,0,0.12,train,s1", "a.mp4,two,0.12,,val,s1", "b.mp4,three,,,test,s__2"]
    report = prepare_videos(table(tmp_path / "in", rows), tmp_path / "out", PLAIN)
    assert dict(report.splits) == {"train": 1, "validation": 1, "test": 1}
    assert "by the data's own split: test 1, train 1, validation 1" in str(report)
    assert [(row.text, row.split, row.signer, row.start, row.end) for row in rows_of(tmp_path / "out")] == [
        ("one", "train", "s1", 0.0, None),
        ("two", "validation", "s1", 0.0, None),
        ("three", "test", "s__2", 0.0, None),
    ]


def test_clips_are_written_below_the_output_alone_under_names_of_their_own() -> None:
    named = ["../in/a", "/in/a", "in/a", "b", "b", "b_2", ".."]
    rows = [Row(Path("x.mp4"), "x", name) for name in named]
    found = ["in/a.mp4", "in/a_2.mp4", "in/a_3.mp4", "b.mp4", "b_2.mp4", "b_2_2.mp4", "clip.mp4"]
    assert names_of(rows, ".mp4") == found


@pytest.mark.parametrize("size", [(63, 47), (47, 63)])
@pytest.mark.parametrize("form", ["mp4", "gif"])
def test_odd_sizes_go_in_and_come_out(form: str, size: tuple[int, int], tmp_path: Path) -> None:
    film(tmp_path / "in.mkv", codec="ffv1", pixels="bgr0", size=size)
    (tmp_path / "in.txt").write_text("x")
    report = prepare_videos(tmp_path, tmp_path / "out", Settings(31, form=form, crop="centre", trim=False))
    assert report.written == [f"in.{form}"]
    found = read_clip(rows_of(tmp_path / "out")[0], num_frames=12, image_size=32)
    assert found.facts.size == ((32, 32) if form == "mp4" else (31, 31))  # H.264 has even sides alone
    assert numbers(found.frames) == list(range(12))


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
    with open_source(rows_of(output)[0]) as clip:
        assert next(clip.pictures([0], side=16)).size == (16, 16)


@pytest.mark.parametrize("flags", [["--crop", "pose"], ["--draw", "pose"]])
def test_without_the_extra_a_wish_for_landmarks_is_one_line_and_exit_code_2(
    flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pose, "find_spec", lambda name: None)
    command = ["prepare-data", "--videos", str(folder_of_films(tmp_path / "in")), "--output", str(tmp_path / "out")]
    assert main([*command, *flags]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and "pip install -r requirements-pose.txt" in told[0]
    assert not (tmp_path / "out").exists()


@pytest.fixture
def found_by_tracker(monkeypatch: pytest.MonkeyPatch) -> Points:
    """What the tracker finds from now on, in place of MediaPipe: a hand in 4 of 12 frames."""
    points = signer(hand=(0.5, 0.7), num_frames=12)
    points.hands[:, 4:] = np.nan
    points.body[:, 4:] = np.nan  # no wrists either

    def find(pictures: Iterable[np.ndarray]) -> Points:
        assert {min(pixels.shape[:2]) for pixels in pictures} == {pose.SIDE}
        return points

    monkeypatch.setattr(pose, "find_signer", find)
    monkeypatch.setattr(pose, "tracker", lambda: "tracker 1")
    return points


def test_what_was_cut_or_drawn_by_landmarks_is_kept_until_their_finder_or_the_wish_changes(
    tmp_path: Path, found_by_tracker: Points, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = table(tmp_path / "in", ["b.mp4,two,,,,"]), tmp_path / "out"
    wishes = [replace(PLAIN, crop="pose"), replace(PLAIN, crop="pose", draw=True), replace(PLAIN, draw=True)]
    for wish in wishes:
        assert prepare_videos(source, output, wish).written == ["b.mp4"]
        assert prepare_videos(source, output, wish).kept == ["b.mp4"]
    monkeypatch.setattr(pose, "tracker", lambda: "tracker 2")
    assert prepare_videos(source, output, wishes[-1]).written == ["b.mp4"]


def test_clips_with_few_hands_are_drawn_and_told_and_those_with_none_are_left_out(
    tmp_path: Path, found_by_tracker: Points
) -> None:
    source = table(tmp_path / "in", ["b.mp4,two,,,,"])
    wish = replace(PLAIN, crop="pose", draw=True)
    assert "a hand is drawn in 4 of 12 frames" in prepare_videos(source, tmp_path / "out", wish).remarks[0]
    found_by_tracker.hands[:] = np.nan
    report = prepare_videos(source, tmp_path / "none", wish)
    assert report.written == [] and "b.mp4: MediaPipe finds no hand" in report.left_out[0]
    assert prepare_videos(source, tmp_path / "cut", replace(wish, draw=False)).written == ["b.mp4"]
    found_by_tracker.body[:] = np.nan
    report = prepare_videos(source, tmp_path / "none", wish)
    assert report.written == [] and "b.mp4: MediaPipe finds no shoulders" in report.left_out[0]


def test_beyond_the_picture_a_square_repeats_its_edge() -> None:
    pixels = np.arange(8 * 10, dtype=np.uint8).reshape(8, 10, 1).repeat(3, axis=2)
    cut = prepare.cut(pixels, prepare.Square(0.0, -0.125, 1.25), 10)
    np.testing.assert_array_equal(cut, pixels[[0, *range(8), 7]])


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
