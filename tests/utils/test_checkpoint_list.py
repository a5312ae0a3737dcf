"""utils/checkpoints/listing.py: which names a state is kept under, what is removed, and what the table says."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from config import Config, make_config
from main import main
from tests.utils.test_checkpoint import content, saved
from utils.checkpoints import file as checkpoint
from utils.checkpoints import listing as checkpoint_list
from utils.checkpoints.file import epoch_path, latest_path
from utils.checkpoints.listing import best_path

MakeConfig = Callable[..., Config]


def after_epoch(config: Config, epoch: int, /, **changes: object) -> None:
    """What the trainer does at the end of an epoch that is saved."""
    checkpoint.save(latest_path(config), content(epoch=epoch, step=epoch * 4, **changes))
    checkpoint_list.keep(config)


def names(config: Config) -> list[str]:
    return sorted(path.name for path in latest_path(config).parent.iterdir())


# ---- Names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("keep", "kept"), [(0, (1, 2, 3, 4, 5)), (1, (5,)), (3, (3, 4, 5)), (9, (1, 2, 3, 4, 5))])
def test_the_last_k_numbered_checkpoints_stay_and_zero_keeps_all(
    debug_config: MakeConfig, keep: int, kept: tuple[int, ...]
) -> None:
    config = debug_config(KEEP_CHECKPOINTS=keep)
    for epoch in range(1, 6):
        after_epoch(config, epoch, validation_loss=float(epoch))
    assert tuple(checkpoint_list.numbered(config)) == kept
    assert checkpoint.load(best_path(config))["epoch"] == 1  # outlives its number
    assert checkpoint.load(latest_path(config))["epoch"] == 5


def test_nothing_but_this_experiments_own_numbered_files_is_ever_removed(debug_config: MakeConfig) -> None:
    config, other = debug_config(KEEP_CHECKPOINTS=1), debug_config(EXPERIMENT_NAME="other")
    folder = latest_path(config).parent
    after_epoch(other, 1, validation_loss=None)
    mine = ("checkpoint_epoch_1.pt", "my checkpoint_epoch_0001.pt", "checkpoint_epoch_0001.pt.bak", "notes.txt")
    for name in (*mine, "deeper/checkpoint_epoch_0001.pt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    (folder / "checkpoint_epoch_0002.pt").mkdir()
    saved(epoch_path(config, 9), epoch=9)  # of a run that got further, and whose latest was removed
    for epoch in (3, 4, 5):
        after_epoch(config, epoch, validation_loss=None)
    wanted = {*mine, "deeper", "latest_checkpoint.pt"}
    wanted |= {f"checkpoint_epoch_{number:04d}.pt" for number in (2, 5, 9)}
    assert set(names(config)) == wanted and (folder / "deeper" / "checkpoint_epoch_0001.pt").is_file()
    assert names(other) == ["checkpoint_epoch_0001.pt", "latest_checkpoint.pt"]


def test_only_states_at_the_end_of_a_saved_epoch_get_a_number(debug_config: MakeConfig) -> None:
    config = debug_config(SAVE_EVERY_EPOCHS=2)
    for changes in ({"epoch": 0}, {"epoch": 2, "batch": 3}, {"epoch": 2, "batch": None}, {"epoch": 3}):
        saved(latest_path(config), **changes)
        checkpoint_list.keep(config)
        assert checkpoint_list.numbered(config) == {}
    after_epoch(config, 4)
    assert list(checkpoint_list.numbered(config)) == [4]


def test_the_best_is_the_first_with_the_lowest_validation_loss(debug_config: MakeConfig) -> None:
    config = debug_config()
    for epoch, loss in enumerate((None, 0.9, float("nan"), 0.5, 0.7, 0.5, None, 0.4, float("inf")), start=1):
        after_epoch(config, epoch, validation_loss=loss)
        best = {1: None, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 4, 8: 8, 9: 8}[epoch]
        assert (checkpoint.load(best_path(config))["epoch"] if best else best_path(config).exists() or None) == best


def test_a_best_that_cannot_be_compared_is_replaced_and_that_is_said(
    debug_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    config = debug_config()
    after_epoch(config, 1, validation_loss=0.1)
    after_epoch(config, 2, validation_loss=0.2, data={"num_clips": 3, "digest": "11"})
    assert checkpoint.load(best_path(config))["epoch"] == 2
    assert "its validation loss was measured on other clips" in capsys.readouterr().err
    best_path(config).write_bytes(b"junk")
    after_epoch(config, 3, validation_loss=0.3, data={"num_clips": 3, "digest": "11"})
    assert checkpoint.load(best_path(config))["epoch"] == 3
    assert f"note: {best_path(config)} is replaced: " in capsys.readouterr().err
    fewer = {**checkpoint.load(latest_path(config))["config"], "NUM_VALIDATION_CLIPS": 1}
    after_epoch(config, 4, validation_loss=0.4, data={"num_clips": 3, "digest": "11"}, config=fewer)
    assert checkpoint.load(best_path(config))["epoch"] == 4
    assert "measured on other clips" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["number", "best", "both", "none"])
def test_names_that_a_kill_prevented_are_made_up_and_repeating_changes_nothing(
    debug_config: MakeConfig, missing: str
) -> None:
    config = debug_config()
    after_epoch(config, 1, validation_loss=0.5)
    wanted = {path.name: path.read_bytes() for path in latest_path(config).parent.iterdir()}
    if missing in ("number", "both"):
        epoch_path(config, 1).unlink()
    if missing in ("best", "both"):
        best_path(config).unlink()
    for _ in range(2):
        checkpoint_list.keep(config)
        assert {path.name: path.read_bytes() for path in latest_path(config).parent.iterdir()} == wanted


def test_a_damaged_or_missing_latest_is_given_no_name(debug_config: MakeConfig) -> None:
    config = debug_config()
    checkpoint_list.keep(config)
    latest_path(config).parent.mkdir(parents=True)
    latest_path(config).write_bytes(b"junk")
    checkpoint_list.keep(config)
    assert names(config) == ["latest_checkpoint.pt"]


def test_the_newest_state_of_an_experiment_is_found_under_any_name(debug_config: MakeConfig) -> None:
    config = debug_config(EXPERIMENT_NAME="ein Versuch für später")
    assert checkpoint_list.existing(config) is None
    for path in (best_path(config), epoch_path(config, 2), epoch_path(config, 10_000), latest_path(config)):
        saved(path)
        assert checkpoint_list.existing(config) == path


# ---- The table ------------------------------------------------------------------------------------------------------


def test_the_table_shows_every_fact_in_aligned_columns_and_the_reason_of_damage(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = saved(here / "checkpoints" / "first run" / "latest_checkpoint.pt")
    saved(here / "checkpoints" / "b" / "latest_checkpoint.pt", validation_loss=None, step=7, epoch=0)
    whole = (here / "checkpoints" / "b" / "latest_checkpoint.pt").read_bytes()
    (here / "checkpoints" / "b" / "z.pt").write_bytes(whole[:1000])
    (here / "checkpoints" / "b" / "z.pt.partial").write_bytes(whole[:1000])
    assert main(["checkpoints"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == "step epoch val loss size saved at architecture path".split()
    assert len(lines) == 4
    end = lines[0].index("architecture") + len("architecture")
    shown = [line[:end].split("  ")[-1].strip() for line in lines[1:]]
    assert sorted(shown) == ["tinyfusion DiT-XXS/8", "tinyfusion DiT-XXS/8", "unusable"]
    sound = next(line for line in lines if line.endswith("checkpoints/first run/latest_checkpoint.pt"))
    saved_at = time.strftime("%Y-%m-%d", time.localtime(first.stat().st_mtime))
    assert sound.split()[:3] == ["1,234", "3", "0.2500"] and sound.split()[5] == saved_at
    unusable = next(line for line in lines if "unusable" in line)
    assert "b/z.pt cannot be read as a checkpoint: File is not a zip file." in unusable


def test_json_holds_the_same_facts_for_machines(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checkpoints", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    path = saved(here / "checkpoints" / "ü b" / "a.pt")
    os.utime(path, (1e9, 1e9))
    (here / "checkpoints" / "ü b" / "b.pt").write_bytes(b"junk")
    assert main(["checkpoints", "--json"]) == 0
    broken, sound = sorted(json.loads(capsys.readouterr().out), key=lambda one: one["step"] or 0)
    assert sound == {
        "path": "checkpoints/ü b/a.pt", "size_bytes": path.stat().st_size, "modified": 1e9,
        "step": 1234, "epoch": 3, "validation_loss": 0.25, "architecture": "tinyfusion DiT-XXS/8",
        "problem": "",
    }  # fmt: skip
    assert broken["step"] is None and "cannot be read" in broken["problem"]


def test_listing_reads_the_description_and_verify_every_byte(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(here / "checkpoints" / "a" / "a.pt")
    data = bytearray(path.read_bytes())
    data[data.index(b"\x00\x00\x80\x3f\x00\x00\x00\x40")] ^= 1  # in the tensor: 1.0, 2.0
    path.write_bytes(data)
    assert main(["checkpoints"]) == 0 and "unusable" not in capsys.readouterr().out
    assert main(["checkpoints", "--verify"]) == 0
    assert "unusable" in (out := capsys.readouterr().out) and "does not fit its own SHA-256" in out
    data[data.index(b"tinyfusion")] ^= 1  # in the description
    path.write_bytes(data)
    assert main(["checkpoints"]) == 0 and "unusable" in capsys.readouterr().out


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
    assert found.step is None and "cannot be read" in found.problem and found.size_bytes == 4


def test_a_file_with_a_foreign_config_is_listed_too(tmp_path: Path) -> None:
    for number, config in enumerate(({}, "none", {**make_config("debug").to_dict(), "FLUX_CAPACITOR": 1})):
        assert checkpoint_list.summarise(saved(tmp_path / f"{number}.pt", config=config)).problem


def test_checkpoints_are_found_by_folder_and_age(tmp_path: Path) -> None:
    for age, name in enumerate(("b/new.pt", "b/old.pt", "a/x.pt")):
        os.utime(saved(tmp_path / name), (1e9 - age, 1e9 - age))
    (tmp_path / "a" / "notes.txt").write_text("no checkpoint")
    found = [one.path.relative_to(tmp_path).as_posix() for one in checkpoint_list.find(tmp_path)]
    assert found == ["a/x.pt", "b/old.pt", "b/new.pt"]
    assert checkpoint_list.find(tmp_path / "nowhere") == []


@pytest.mark.parametrize("num_looks", range(1, 7))
@pytest.mark.parametrize("verify", [[], ["--verify"]])
def test_a_file_that_a_training_prunes_meanwhile_is_not_listed_and_the_others_are(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, num_looks: int, verify: list[str]
) -> None:
    """It is removed just before somebody looks at it, or opens it, for the ``num_looks``-th time."""
    pruned, kept = (saved(here / "checkpoints" / "a" / name) for name in ("pruned.pt", "kept.pt"))
    looks = 0

    def before(act: Callable[..., object]) -> Callable[..., object]:
        def counted(path: object, *args: object, **more: object) -> object:
            nonlocal looks
            looks += str(path).endswith("pruned.pt")
            if looks == num_looks:
                pruned.unlink(missing_ok=True)
            return act(path, *args, **more)

        return counted

    monkeypatch.setattr("os.stat", before(os.stat))
    monkeypatch.setattr("builtins.open", before(open))
    assert main(["checkpoints", "--json", *verify]) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert one["path"].endswith(kept.name) and one["problem"] == "" and looks >= num_looks
