"""methods/sharing/export.py, utils/checkpoints/folder.py: no bit is lost, nothing of the machine gets out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from config import Config, make_config
from main import main
from methods.sampling.loading import load_model
from methods.sharing.card import Card
from methods.sharing.export import OF_THE_MACHINE, export, portable
from methods.trainer import Trainer
from models.text_encoder import TextEncoder
from tests.conftest import command_settings, files_below
from utils.checkpoints import file as checkpoint
from utils.checkpoints import folder as folders
from utils.checkpoints.file import CheckpointError
from utils.reading.reader import read_frames


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, trained_checkpoint: Path) -> Path:
    """A whole exported model, its encoder and a sample clip included; read only."""
    folder = tmp_path_factory.mktemp("exported") / "tiny"
    flags = ["--output", str(folder), "--with_encoder", "--samples", "1", "--data_licence", "made for the tests"]
    assert main(["export", "--checkpoint", str(trained_checkpoint), *flags]) == 0
    return folder


def test_no_bit_of_the_averaged_weights_and_statistics_is_lost(exported: Path, trained_checkpoint: Path) -> None:
    content = checkpoint.load(trained_checkpoint)
    wanted, found = folders.averaged(content), folders.load(exported)
    assert found["model"].keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found["model"][name].dtype == tensor.dtype and torch.equal(found["model"][name], tensor)
    assert torch.equal(found["captions"]["features"], content["captions"]["features"])
    for name in ("step", "epoch", "validation_loss", "data", "sha256"):
        assert found[name] == content[name]


def test_a_folder_samples_the_same_files_as_its_checkpoint(
    exported: Path, trained_checkpoint: Path, tmp_path: Path
) -> None:
    for name, path in (("one", trained_checkpoint), ("other", exported)):
        flags = ["--text", "hello", "--num_samples", "2", "--format", "frames", "--output", str(tmp_path / name)]
        assert main(["sample", "--checkpoint", str(path), *flags]) == 0
    one, other = (sorted((tmp_path / name).iterdir()) for name in ("one", "other"))
    assert [path.name for path in one] == [path.name for path in other] and len(one) == 2
    for path, same in zip(one, other, strict=True):
        assert np.array_equal(read_frames(path), read_frames(same))


def test_nothing_of_the_machine_gets_out(exported: Path, trained_run: Path) -> None:
    private = trained_run, Path.home(), exported.parent, Path(torch.__file__).parents[1]
    for name, data in files_below(exported).items():
        assert not any(str(path).encode() in data for path in private), name


def test_no_caption_that_was_held_out_gets_out(debug_config: Callable[..., Config], tmp_path: Path) -> None:
    trainer = Trainer(debug_config(VALIDATION_FRACTION=0.5))
    held_out = {trainer.data.texts[row] for row in trainer.validation} - {"no"}  # which settings say too
    trained = {trainer.data.texts[row] for row in trainer.training}
    assert trained and held_out and not trained & held_out
    folder = tmp_path / "model"
    export({**trainer.state(), "sha256": ""}, folder, Card())
    assert set(folders.load(folder)["captions"]["texts"]) == trained
    for name in ("README.md", "config.json", "captions.safetensors"):
        assert not any(f'"{caption}"' in (folder / name).read_text(errors="replace") for caption in held_out), name


def test_settings_that_name_a_place_stand_at_their_defaults() -> None:
    plain = make_config("debug").to_dict()
    found = portable({**plain, "DATA_DIR": "/home/me/clips", "SPLIT_FILE": "~/split.json", "TEXT_ENCODER": "C:\\model"})
    assert all(found[key] == make_config().to_dict()[key] for key in (*OF_THE_MACHINE, "TEXT_ENCODER"))
    assert found["TIMESTEPS"] == plain["TIMESTEPS"]


def test_the_encoder_comes_along_and_is_the_same(exported: Path, encoder: TextEncoder) -> None:
    loaded = load_model(exported, {"CACHE_DIR": ""})
    assert Path(loaded.encoder.name) == exported / "text_encoder"
    assert torch.equal(loaded.encoder.encode(["hello"]).tokens, encoder.encode(["hello"]).tokens)


def test_training_begins_with_the_weights_of_a_folder(
    exported: Path, tmp_path: Path, clips_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = command_settings(tmp_path, clips_folder, NUM_EPOCHS=1, LEARNING_RATE=1e-30, EMA_DECAY=0.0)
    assert main(["train", "--init", str(exported), *settings]) == 0
    assert "weights and statistics: the averages of" in capsys.readouterr().err
    begun = checkpoint.load(tmp_path / "checkpoints" / "debug" / "latest_checkpoint.pt")
    wanted = folders.load(exported)
    assert begun["origin"] == {"weights": "model", "of": wanted["sha256"]} and begun["step"] < wanted["step"] + 1
    for name in ("clip_mean", "text.pooled_mean", "backbone.dit.x_embedder.proj.weight"):
        torch.testing.assert_close(begun["model"][name], wanted["model"][name], rtol=1e-6, atol=1e-9)


def test_another_size_is_refused_with_the_settings_that_fit(
    exported: Path, tmp_path: Path, clips_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = command_settings(tmp_path, clips_folder, NUM_FRAMES=8)
    assert main(["train", "--init", str(exported), *settings]) == 2
    assert "holds NUM_FRAMES=4, the config says 8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "change", "complaint"),
    [
        ("model.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1]), "has changed since it was exported"),
        ("config.json", lambda data: data[:100], "its config.json cannot be read"),
        ("config.json", lambda data: b"[]", "is not 1 in config.json"),
        ("config.json", lambda data: data.replace(b'"step"', b'"stop"'), "lacks step"),
    ],
)
def test_a_damaged_folder_is_one_clear_line(
    exported: Path, tmp_path: Path, file: str, change: object, complaint: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy, ignore=shutil.ignore_patterns("text_encoder"))
    (copy / file).write_bytes(change((copy / file).read_bytes()))
    with pytest.raises(CheckpointError, match=complaint) as caught:
        folders.load(copy)
    assert "\n" not in str(caught.value)


def test_an_export_replaces_only_an_export_and_only_when_told(exported: Path, tmp_path: Path) -> None:
    content = folders.load(exported)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("dear")
    with pytest.raises(CheckpointError, match="no exported model"):
        folders.write(mine, content, finish=lambda folder: None, overwrite=True)
    folder = tmp_path / "model"
    folders.write(folder, content, finish=lambda folder: None)
    with pytest.raises(CheckpointError, match="Add --overwrite"):
        folders.write(folder, content, finish=lambda folder: None)

    def fail(partial: Path) -> None:
        raise OSError("no space left")

    before = files_below(folder)
    with pytest.raises(folders.FileError, match="no space left"):
        folders.write(folder, content, finish=fail, overwrite=True)
    assert files_below(folder) == before and {path.name for path in tmp_path.iterdir()} == {"mine", "model"}
    folders.write(folder, content, finish=lambda folder: None, overwrite=True)


def test_fix_config_reads_a_folder(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fix-config", "--dry-run", "--checkpoint", str(exported)]) == 0
    assert json.loads((exported / "config.json").read_text())["config"]["NUM_FRAMES"] == 4
