"""utils/checkpoints/file.py: whole files or none, nothing executed, every damage a clear line."""

from __future__ import annotations

import math
import pickle
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from config import Config, make_config
from utils.checkpoints import file as checkpoint
from utils.checkpoints.file import CheckpointError
from utils.checkpoints.seal import SealedFile


def content(**changes: object) -> dict[str, object]:
    """A small checkpoint with every field."""
    return {
        "format_version": checkpoint.FORMAT_VERSION,
        "config": make_config("debug").to_dict(),
        "encoder": {"name": "none", "width": 4, "fingerprint": "00"},
        "epoch": 3,
        "batch": 0,
        "step": 1234,
        "skipped_steps": 0,
        "validation_loss": 0.25,
        "model": {"weight": torch.arange(6.0).reshape(2, 3), "half": torch.ones(2, dtype=torch.bfloat16)},
        "ema": {"weight": torch.zeros(2, 3)},
        "optimizer": {"state": {0: {"step": torch.tensor(7.0)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]},
        "scaler": {},
        "data": {"num_clips": 2, "digest": "00"},
        **changes,
    }


def saved(path: Path, **changes: object) -> Path:
    checkpoint.save(path, content(**changes))
    return path


# ---- Saving ---------------------------------------------------------------------------------------------------------


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    path = saved(tmp_path / "new" / "folder" / "a.pt")
    loaded, wanted = checkpoint.load(path), content()
    assert {key: loaded[key] for key in ("config", "encoder", "epoch", "step", "scaler")} == {
        key: wanted[key] for key in ("config", "encoder", "epoch", "step", "scaler")
    }
    assert torch.equal(loaded["model"]["weight"], wanted["model"]["weight"])
    assert loaded["model"]["half"].dtype == torch.bfloat16
    assert loaded["optimizer"]["param_groups"] == wanted["optimizer"]["param_groups"]
    assert checkpoint.config_of(loaded, path) == make_config("debug")


def test_a_save_that_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt")
    before = path.read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        saved(path, optimizer={"tensor": torch.ones(1000), "function": lambda: None})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size there")
def test_a_full_disk_is_one_clear_line_and_the_old_file_survives(tmp_path: Path) -> None:
    import resource

    path = saved(tmp_path / "a.pt")
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match="a.pt cannot be written .*untouched. Make room, or") as caught:
            saved(path, optimizer={"tensor": torch.ones(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_place_that_is_no_folder_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    for act in (saved, lambda path: checkpoint.link(tmp_path / "taken", path)):
        with pytest.raises(CheckpointError, match="cannot be written"):
            act(tmp_path / "taken" / "a.pt")
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_save_replaces_the_file_in_one_step(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt")
    with open(path, "rb") as reader:
        saved(path, step=9)
        assert zipfile.is_zipfile(reader)  # whoever still reads the old file reads it whole
    assert checkpoint.load(path)["step"] == 9 and list(tmp_path.iterdir()) == [path]


def test_a_link_is_a_second_name_that_outlives_the_next_save(tmp_path: Path) -> None:
    latest = saved(tmp_path / "latest_checkpoint.pt", step=1)
    kept = tmp_path / "checkpoint_epoch_0001.pt"
    checkpoint.link(latest, kept)
    assert kept.read_bytes() == latest.read_bytes()
    saved(latest, step=2)
    assert (checkpoint.load(kept)["step"], checkpoint.load(latest)["step"]) == (1, 2)
    checkpoint.link(latest, kept)
    assert checkpoint.load(kept)["step"] == 2 and sorted(tmp_path.iterdir()) == [kept, latest]


def test_an_old_file_may_still_be_read_lazily_while_a_new_one_takes_its_place(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt")
    loaded = checkpoint.load(path)
    saved(path, model={"weight": torch.full((2, 3), 9.0), "half": torch.zeros(2, dtype=torch.bfloat16)})
    assert torch.equal(loaded["model"]["weight"], torch.arange(6.0).reshape(2, 3))


def test_what_is_read_and_its_hash_are_of_one_file_though_another_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, newer = saved(tmp_path / "a.pt", step=1), saved(tmp_path / "b.pt", step=2)
    read = torch.load

    def replaced_before(*args: object, **more: object) -> object:
        if newer.exists():
            newer.replace(path)
        return read(*args, **more)

    monkeypatch.setattr("torch.load", replaced_before)
    found = checkpoint.load(path)
    assert found["step"] == 2 and found["sha256"] == path.read_bytes()[-64:].decode()


def test_changing_a_loaded_tensor_does_not_change_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt")
    checkpoint.load(path)["model"]["weight"].fill_(-1)
    assert torch.equal(checkpoint.load(path)["model"]["weight"], torch.arange(6.0).reshape(2, 3))


def test_space_is_checked_before_a_byte_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.pt")
    before = path.read_bytes()
    needed = checkpoint.size_bytes(content())
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage._replace(free=needed - 1))
    with pytest.raises(CheckpointError) as caught:
        saved(path, step=9)
    assert str(caught.value) == (
        f"{path} needs 0.00 GiB, {tmp_path} has 0.00 GiB free; what stood there is untouched. "
        "Make room, keep fewer (KEEP_CHECKPOINTS), or write elsewhere: --set CHECKPOINT_DIR=FOLDER"
    )
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage._replace(free=needed))
    assert checkpoint.load(saved(path, step=9))["step"] == 9


@pytest.mark.parametrize("num_tensors", [1, 30])
def test_the_size_that_is_checked_is_that_of_the_file_rounded_up(tmp_path: Path, num_tensors: int) -> None:
    """Tensors that share their numbers are written once, a view with all that it is a view of."""
    tensors = {f"layer.{i}.weight": torch.zeros(10_000) for i in range(num_tensors)}
    tensors |= {"view": tensors["layer.0.weight"][:3], "half": torch.zeros(9_999, dtype=torch.bfloat16)}
    state = content(model=tensors, ema={"layer.0.weight": tensors["layer.0.weight"]})
    checkpoint.save(tmp_path / "a.pt", state)
    size = (tmp_path / "a.pt").stat().st_size
    assert size <= checkpoint.size_bytes(state) <= size + 1024 * (num_tensors + 8) + 2**16


@pytest.mark.parametrize("field", ["model", "ema", "optimizer"])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_reaches_no_file_and_leaves_none(tmp_path: Path, field: str, number: float) -> None:
    path, bad = saved(tmp_path / "a.pt"), content()
    before = path.read_bytes()
    table = bad[field]["state"][0] if field == "optimizer" else bad[field]
    name = "step" if field == "optimizer" else "weight"
    table[name].view(-1)[-1] = number
    with pytest.raises(CheckpointError, match=f"^{field}[.].*{name} holds NaN or infinity at step 1,234.*untouched"):
        checkpoint.save(path, bad)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    with open(path, "wb") as file:  # as another program may have
        sealed = SealedFile(file)
        torch.save(bad, sealed)
        sealed.seal()
    with pytest.raises(CheckpointError, match=f"is of no use: {field}[.].*{name} holds NaN or infinity. Use another"):
        checkpoint.load(path)


def test_what_a_killed_process_left_half_written_is_swept_by_the_next_save(tmp_path: Path) -> None:
    for name in (".a.pt.1.partial", ".mine.partial", "a.pt.partial"):
        (tmp_path / name).write_bytes(b"half")
    path = saved(tmp_path / "a.pt")
    assert {one.name for one in tmp_path.iterdir()} == {path.name, ".mine.partial", "a.pt.partial"}


# ---- Loading --------------------------------------------------------------------------------------------------------


class Bomb:
    """Pickled, it asks the reader to create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.path), "w")


def test_a_stranger_s_file_runs_no_code(tmp_path: Path) -> None:
    crater = tmp_path / "crater"
    for path, protocol in ((tmp_path / "new.pt", True), (tmp_path / "old.pt", False)):
        torch.save(content(scaler=Bomb(crater)), path, _use_new_zipfile_serialization=protocol)
        with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
            checkpoint.load(path)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(content(scaler=Bomb(crater))))
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        checkpoint.load(tmp_path / "plain.pt")
    assert not crater.exists()


def test_a_truncated_file_is_a_clear_error_wherever_it_was_cut(tmp_path: Path) -> None:
    whole = saved(tmp_path / "a.pt").read_bytes()
    path = tmp_path / "cut.pt"
    for size in (0, 1, 3, 4, 30, 100, len(whole) // 4, len(whole) // 2, len(whole) - 100, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="cannot be read as a checkpoint") as caught:
            checkpoint.load(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"hello\n", b"\x80\x04", b"PK\x03\x04" + bytes(200), b"\x89PNG\r\n", bytes(1000)])
def test_another_kind_of_file_is_a_clear_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    "foreign", [{"state_dict": {}}, [1, 2], torch.ones(3), {}], ids=["dict", "list", "tensor", "{}"]
)
def test_a_torch_file_of_another_program_is_no_checkpoint(tmp_path: Path, foreign: object) -> None:
    torch.save(foreign, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="is no Text2Sign checkpoint"):
        checkpoint.load(tmp_path / "a.pt")


@pytest.mark.parametrize("version", [1, 3, "2", None])
def test_another_format_names_both_and_what_reads_it(tmp_path: Path, version: object) -> None:
    with pytest.raises(CheckpointError, match=f"format {version}, this version reads 2. Use the Text2Sign that wrote"):
        checkpoint.load(saved(tmp_path / "a.pt", format_version=version))


def test_missing_fields_are_named(tmp_path: Path) -> None:
    torch.save({key: value for key, value in content().items() if key not in ("ema", "step")}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="lacks step, ema"):
        checkpoint.load(tmp_path / "a.pt")


def test_a_missing_file_and_a_folder_say_where_to_look(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(CheckpointError, match="does not exist. See what there is: python main.py checkpoints"):
            checkpoint.load(path)


def test_settings_of_another_version_are_named(tmp_path: Path) -> None:
    stored = {**make_config("debug").to_dict(), "FLUX_CAPACITOR": 1}
    with pytest.raises(CheckpointError, match="does not accept: There is no setting 'FLUX_CAPACITOR'"):
        checkpoint.config_of(content(config=stored), tmp_path / "a.pt")


# ---- Comparing and listing ------------------------------------------------------------------------------------------


def test_only_model_keys_stop_a_resume() -> None:
    stored = make_config("debug")
    assert checkpoint.check_resumable(Path("a.pt"), stored, stored) == []
    changed = make_config("debug", {"LEARNING_RATE": 0.5, "NUM_EPOCHS": 9})
    lines = ["NUM_EPOCHS 2 -> 9", "LEARNING_RATE 0.0001 -> 0.5"]
    assert checkpoint.check_resumable(Path("a.pt"), stored, changed) == lines
    with pytest.raises(CheckpointError, match="PREDICTION_TYPE='sample', the config says 'epsilon'.*fix-config"):
        checkpoint.check_resumable(Path("a.pt"), stored, make_config("debug", {"PREDICTION_TYPE": "epsilon"}))


def test_paths_follow_the_experiment() -> None:
    config = Config(CHECKPOINT_DIR="x", EXPERIMENT_NAME="y")
    assert checkpoint.latest_path(config) == Path("x/y/latest_checkpoint.pt")
    assert checkpoint.epoch_path(config, 30) == Path("x/y/checkpoint_epoch_0030.pt")
