"""models/encoder_files.py: an encoder is known by the bytes of its files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from models.encoder_files import content_identity


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "vocab.txt"])
def test_one_other_byte_in_the_encoders_files_is_another_encoder(tmp_path: Path, name: str) -> None:
    for file in ("config.json", "model.safetensors", "tokenizer.json", "vocab.txt"):
        (tmp_path / file).write_bytes(os.urandom(3_000_000 if file == "model.safetensors" else 1000))
    before, times = content_identity(tmp_path), os.stat(tmp_path / name)
    content = bytearray((tmp_path / name).read_bytes())
    content[-500] ^= 1
    (tmp_path / name).write_bytes(content)
    os.utime(tmp_path / name, ns=(times.st_atime_ns, times.st_mtime_ns))  # content counts, not the date
    assert content_identity(tmp_path) != before


def test_a_file_more_or_renamed_is_another_encoder_and_a_copy_is_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    before = content_identity(folder)
    assert content_identity(Path(shutil.copytree(folder, tmp_path / "copy"))) == before
    (folder / "README.md").write_text("not read by the encoder")
    assert content_identity(folder) == before
    (folder / "added.json").write_text("{}")
    assert content_identity(folder) != before
    (folder / "added.json").unlink()
    (folder / "config.json").rename(folder / "configuration.json")
    assert content_identity(folder) != before
