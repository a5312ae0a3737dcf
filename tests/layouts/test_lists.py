"""utils/layouts: what is wrong with people's lists is told in a line each, and the rest is used."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.layouts.test_layouts import make_asl_citizen, make_autsl, make_csl_daily, make_phoenix, touch, write
from utils.layouts.listing import LayoutError
from utils.layouts.registry import LAYOUTS, read_listing


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a.mp4,,,\n", "empty text"),
        ("a.mp4,x,2,1\n", "from 2 s to 1 s holds nothing"),
        ("a.mp4,x,soon,\n", "start is 'soon'; wanted seconds"),
        ("a.mp4,x,nan,\n", "wanted seconds"),
        ("a.mp4,x,-1,2\n", "holds nothing"),
        (",x,,\n", "wanted the name of a file"),
        ("a.mp4,x\n", "wanted 4 values"),
        ("a.mp4,x,,,,\n", "wanted 4 values"),
    ],
)
def test_a_bad_row_is_named_by_its_line_and_the_others_are_used(line: str, reason: str, tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    write(tmp_path, "metadata.csv", f"file_name,text,start,end\n{line}b.mp4,fine,,\n")
    _, listing = read_listing(tmp_path)
    assert [row.text for row in listing.rows] == ["fine"]
    told = [problem.text for problem in listing.problems if problem.kind == "row"]
    assert len(told) == 1 and "line 2" in told[0] and reason in told[0]


def test_an_unbalanced_quotation_mark_is_an_error_with_its_line(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    write(tmp_path, "metadata.csv", 'file_name,text\na.mp4,"never closed\nb.mp4,fine\n')
    with pytest.raises(LayoutError, match=r"metadata.csv, line \d.*quotation mark"):
        read_listing(tmp_path)


def test_two_tables_or_no_known_column_are_errors_that_name_what_was_wanted(tmp_path: Path) -> None:
    write(tmp_path, "metadata.csv", "where,what\na.mp4,x\n")
    with pytest.raises(LayoutError, match="columns where, what; wanted one of file_name"):
        read_listing(tmp_path)
    write(tmp_path, "metadata.jsonl", "{}\n")
    with pytest.raises(LayoutError, match="metadata.csv and metadata.jsonl found; wanted one"):
        read_listing(tmp_path)


@pytest.mark.parametrize("columns", [("video", "caption"), ("path", "gloss"), ("video_path", "prompt")])
def test_the_usual_other_names_of_columns_are_known_and_jsonl_is_the_same_table(
    columns: tuple[str, str], tmp_path: Path
) -> None:
    touch(tmp_path, "a.mp4")
    write(tmp_path, "metadata.jsonl", json.dumps(dict(zip(columns, ("a.mp4", "hi"), strict=True))) + "\n\n")
    assert [row.text for row in read_listing(tmp_path)[1].rows] == ["hi"]


def test_two_clips_for_one_text_and_a_link_to_itself_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "a.webm")
    write(tmp_path, "a.txt", "x")
    write(tmp_path, "b.txt", "y")
    (tmp_path / "b.mp4").symlink_to(tmp_path / "b.mp4")
    _, listing = read_listing(tmp_path)
    told = " ".join(problem.text for problem in listing.problems)
    assert listing.rows == [] and "belongs to a.mp4 and a.webm" in told and "b.mp4 is listed and does not exist" in told
    assert listing.num_listed == len(listing.problems) == 2  # neither clip is called unlisted besides


def test_two_texts_for_one_clip_are_told_and_the_first_is_used(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    write(tmp_path, "a.TXT", "first")
    write(tmp_path, "a.txt", "second")
    _, listing = read_listing(tmp_path)
    assert [row.text for row in listing.rows] == ["first"] and listing.num_listed == 2
    assert "a.txt: a.mp4 has a text already, a.TXT" in listing.problems[0].text


def test_a_link_to_itself_that_nobody_lists_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    write(tmp_path, "metadata.csv", "file_name,text\na.mp4,x\n")
    (tmp_path / "b.mp4").symlink_to(tmp_path / "b.mp4")
    _, listing = read_listing(tmp_path)
    assert [problem.kind for problem in listing.problems] == ["unlisted"]
    assert "b.mp4: a link to nothing" in listing.problems[0].text


def test_frames_that_csl_daily_does_not_label_are_told(tmp_path: Path) -> None:
    make_csl_daily(tmp_path)
    touch(tmp_path, "sentence/frames_512x512/S000007_P0003_T00/000000.jpg")
    _, listing = read_listing(tmp_path)
    assert [problem.text for problem in listing.problems if "S000007" in problem.text] == [
        f"{tmp_path / 'sentence/frames_512x512/S000007_P0003_T00'}: no text; it is not listed"
    ]


def test_a_folder_of_30_000_pairs_is_read_in_one_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the number of folders that are opened, which a look around each caption would multiply."""
    for name in range(50):
        touch(tmp_path, f"{name}.mp4")
        write(tmp_path, f"{name}.txt", "x")
    opened: list[object] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: opened.append(path) or scandir(path))
    assert len(LAYOUTS["pairs"].read(tmp_path).rows) == 50 and len(opened) < 10


@pytest.mark.parametrize("name", ["phoenix14t", "asl_citizen", "autsl"])
def test_a_published_table_without_one_of_its_columns_is_refused(name: str, tmp_path: Path) -> None:
    make, table, column = {
        "phoenix14t": (make_phoenix, "*/*/annotations/manual/*dev*", "translation"),
        "asl_citizen": (make_asl_citizen, "splits/test.csv", "Gloss"),
        "autsl": (make_autsl, "SignList*", "EN"),
    }[name]
    make(tmp_path)
    path = next(tmp_path.glob(table))
    path.write_text(path.read_text("utf-8").replace(column, "other", 1), "utf-8")
    with pytest.raises(LayoutError, match=f"wanted {column} too"):
        read_listing(tmp_path)


@pytest.mark.parametrize("file", ["", ".", "  "])
def test_a_row_of_include_that_names_no_file_is_told(file: str, tmp_path: Path) -> None:
    (tmp_path / "include.csv").write_text(f"Word,FilePath\n1. loud,{file}\n2. quiet,a.mp4\n")
    (tmp_path / "a.mp4").touch()
    _, listing = read_listing(tmp_path)
    assert [row.text for row in listing.rows] == ["quiet"]
    assert "line 2: FilePath is" in listing.problems[0].text and listing.problems[0].kind == "row"
