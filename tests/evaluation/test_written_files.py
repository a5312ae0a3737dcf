"""methods/evaluation/files.py: an evaluation is whole where it says so, and removes its own files alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from methods.evaluation.files import write_evaluation
from methods.evaluation.page import ClipPair
from tests.conftest import files_below
from tests.evaluation.reports import pair, report
from utils.files import FileError

PAIRS = [pair("hello"), pair("yes"), pair("no", "held_out", num=1)]


def write(folder: Path, pairs: list[ClipPair]) -> set[str]:
    """The names that are there afterwards."""
    write_evaluation(folder, report(), pairs, command="do it")
    return set(files_below(folder))


def test_every_clip_has_a_file_of_its_own(tmp_path: Path) -> None:
    names = write(tmp_path, PAIRS)
    clips = ["train/000_0.gif", "train/000_1.gif", "train/001_0.gif", "train/001_1.gif", "held_out/000_0.gif"]
    whole = {"evaluation.json", "report.html", "written_files.txt"}
    assert names == whole | {f"contact_sheet_{part}.png" for part in ("train", "held_out")} | {
        f"generated/{name}" for name in clips
    }
    for name, clip in zip(clips, [clip for each in PAIRS for clip in each.generated], strict=True):
        clip.write(tmp_path / "clip.gif")
        assert (tmp_path / "generated" / name).read_bytes() == (tmp_path / "clip.gif").read_bytes()


def test_a_smaller_evaluation_leaves_nothing_of_a_larger_one(tmp_path: Path) -> None:
    alone = write(tmp_path / "alone", PAIRS[:1])
    write(tmp_path / "twice", PAIRS)
    assert write(tmp_path / "twice", PAIRS[:1]) == alone


def test_files_that_no_evaluation_lists_stay(tmp_path: Path) -> None:
    """Also those beyond the folder, whatever a list that came with it says."""
    out = tmp_path / "out"
    others = [out / "generated" / "mine" / "my_clip.gif", out / "notes.txt", tmp_path / "precious.txt"]
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    (out / "written_files.txt").write_text("../precious.txt\nnotes.txt\n")
    write(out, PAIRS)
    write(out, PAIRS[:1])
    assert [path.read_text() for path in others] == ["mine"] * 3


def test_an_interrupted_evaluation_is_none_and_the_next_one_removes_what_it_left(tmp_path: Path) -> None:
    write(tmp_path, PAIRS[:1])
    (tmp_path / "generated" / "held_out").write_text("in the way of a folder")
    with pytest.raises(FileError, match="held_out"):
        write(tmp_path, PAIRS)
    assert not (tmp_path / "evaluation.json").exists()
    assert (tmp_path / "generated" / "train" / "001_1.gif").exists()
    (tmp_path / "generated" / "held_out").unlink()
    assert write(tmp_path, PAIRS[:1]) == write(tmp_path / "alone", PAIRS[:1])
