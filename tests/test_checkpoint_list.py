"""utils/checkpoint_list.py: which names a state is kept under, what is removed, and what the table says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from config import Config, make_config
from main import main
from tests.test_checkpoint import saved
from utils import checkpoint_list

MakeConfig = Callable[..., Config]


def test_the_table_shows_every_fact_in_aligned_columns_and_the_reason_of_damage(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(here / "checkpoints" / "first run" / "latest_checkpoint.pt")
    saved(here / "checkpoints" / "b" / "latest_checkpoint.pt", validation_loss=None, step=7, epoch=0)
    whole = (here / "checkpoints" / "b" / "latest_checkpoint.pt").read_bytes()
    (here / "checkpoints" / "b" / "z.pt").write_bytes(whole[:1000])
    (here / "checkpoints" / "b" / "z.pt.partial").write_bytes(whole[:1000])
    assert main(["checkpoints"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == "experiment step epoch val loss size age architecture path".split()
    assert len(lines) == 4
    at = lines[0].index("architecture")
    shown = [line[at:].split("  ")[0] for line in lines[1:]]
    assert sorted(shown) == ["damaged", "tinyfusion DiT-XXS/8", "tinyfusion DiT-XXS/8"]
    sound = next(line for line in lines if line.startswith("first run"))
    assert sound.split()[2:5] == ["1,234", "3", "0.2500"] and sound.endswith("first run/latest_checkpoint.pt")
    damaged = next(line for line in lines if "damaged" in line)
    assert "b/z.pt cannot be read as a checkpoint: File is not a zip file." in damaged


def test_json_holds_the_same_facts_for_machines(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checkpoints", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    path = saved(here / "checkpoints" / "ü b" / "a.pt")
    os.utime(path, (1e9, 1e9))
    (here / "checkpoints" / "ü b" / "b.pt").write_bytes(b"junk")
    assert main(["checkpoints", "--json"]) == 0
    broken, sound = sorted(json.loads(capsys.readouterr().out), key=lambda one: one["step"] or 0)
    assert sound == {
        "path": "checkpoints/ü b/a.pt", "experiment": "ü b", "size_bytes": path.stat().st_size, "modified": 1e9,
        "step": 1234, "epoch": 3, "validation_loss": 0.25, "architecture": "tinyfusion DiT-XXS/8",
        "damaged": False, "problem": "",
    }  # fmt: skip
    assert broken["damaged"] and broken["step"] is None and "cannot be read" in broken["problem"]


def test_listing_reads_the_description_and_verify_every_byte(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(here / "checkpoints" / "a" / "a.pt")
    data = bytearray(path.read_bytes())
    data[data.index(b"\x00\x00\x80\x3f\x00\x00\x00\x40")] ^= 1  # in the tensor: 1.0, 2.0
    path.write_bytes(data)
    assert main(["checkpoints"]) == 0 and "damaged" not in capsys.readouterr().out
    assert main(["checkpoints", "--verify"]) == 0
    assert "damaged" in (out := capsys.readouterr().out) and "does not fit its own SHA-256" in out
    data[data.index(b"tinyfusion")] ^= 1  # in the description
    path.write_bytes(data)
    assert main(["checkpoints"]) == 0 and "damaged" in capsys.readouterr().out


def test_listing_takes_no_time_that_grows_with_the_tensors(tmp_path: Path) -> None:
    """The bytes that are read are counted, not the seconds."""
    path = saved(tmp_path / "a.pt")
    read_small = bytes_read(path)
    saved(path, model={"weight": torch.zeros(16 * 2**20)})
    assert path.stat().st_size > 2**26
    assert bytes_read(path) < read_small + 2**20


def bytes_read(path: Path) -> int:
    """By this process in ``summarise``, as Linux counts them."""

    def total() -> int:
        return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])

    if not Path("/proc/self/io").is_file():
        pytest.skip("no count of bytes read")
    before = total()
    assert checkpoint_list.summarise(path).problem == ""
    return total() - before


def test_a_sound_file_is_summarised_and_a_damaged_one_listed_with_its_problem(tmp_path: Path) -> None:
    found = checkpoint_list.summarise(saved(tmp_path / "a.pt"))
    assert (found.step, found.epoch, found.architecture, found.problem) == (1234, 3, "tinyfusion DiT-XXS/8", "")
    assert found.size_bytes == (tmp_path / "a.pt").stat().st_size
    (tmp_path / "b.pt").write_bytes(b"junk")
    found = checkpoint_list.summarise(tmp_path / "b.pt")
    assert found.step is None and found.damaged and "cannot be read" in found.problem and found.size_bytes == 4


def test_a_file_with_a_foreign_config_is_listed_too(tmp_path: Path) -> None:
    for number, config in enumerate(({}, "none", {**make_config("debug").to_dict(), "FLUX_CAPACITOR": 1})):
        assert checkpoint_list.summarise(saved(tmp_path / f"{number}.pt", config=config)).problem


def test_checkpoints_are_found_by_experiment_and_age(tmp_path: Path) -> None:
    for age, name in enumerate(("b/new.pt", "b/old.pt", "a/x.pt")):
        os.utime(saved(tmp_path / name), (1e9 - age, 1e9 - age))
    (tmp_path / "a" / "notes.txt").write_text("no checkpoint")
    found = [path.relative_to(tmp_path).as_posix() for path in checkpoint_list.find(tmp_path)]
    assert found == ["a/x.pt", "b/old.pt", "b/new.pt"]
    assert checkpoint_list.find(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59, "59 s"), (600, "10 min"), (7200, "2 h"), (3 * 86400, "3 d")]
)
def test_ages_are_short(seconds: int, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1e9 + seconds)
    assert checkpoint_list.age(1e9) == text
