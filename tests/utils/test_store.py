"""utils/store.py: what is put comes back or does not, and nothing comes back that was not put."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from utils.store import Store

KEY, OTHER = "ab" * 32, "cd" * 32


def store(folder: Path) -> Store:
    return Store(folder, what="values")


@pytest.mark.parametrize("value", [b"", b"x", bytes(10_000)])
def test_a_value_comes_back_and_keys_tell_what_is_there(value: bytes, tmp_path: Path) -> None:
    assert store(tmp_path).get(KEY) is None and store(tmp_path / "none").keys() == set()
    assert store(tmp_path).put(KEY, value)
    assert store(tmp_path).get(KEY) == value and store(tmp_path).keys() == {KEY}
    store(tmp_path).drop({KEY, OTHER})
    assert store(tmp_path).get(KEY) is None and store(tmp_path).keys() == set()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "emptied": lambda path: os.truncate(path, 0),
    "cut": lambda path: os.truncate(path, 5),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "zeros, as after a power cut": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "one bit": lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
    "another value's file": lambda path: path.write_bytes((path.parent.parent / OTHER[:2] / OTHER).read_bytes()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_value_is_missing(damage: str, tmp_path: Path) -> None:
    store(tmp_path).put(KEY, b"value")
    store(tmp_path).put(OTHER, b"other")
    DAMAGES[damage](tmp_path / KEY[:2] / KEY)
    assert store(tmp_path).get(KEY) is None and store(tmp_path).get(OTHER) == b"other"
    store(tmp_path).put(KEY, b"value")
    assert store(tmp_path).get(KEY) == b"value"


def put_often(folder: Path, value: bytes) -> None:
    for _ in range(100):
        store(folder).put(KEY, value)


def test_processes_that_write_one_value_at_once_leave_a_whole_one(tmp_path: Path) -> None:
    values = [bytes([number]) * 50_000 for number in range(3)]
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=put_often, args=(tmp_path, value)) for value in values]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert store(tmp_path).get(KEY) in (None, *values)
    assert store(tmp_path).get(KEY) in values and store(tmp_path).keys() == {KEY}


def test_a_disk_that_refuses_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    refused = store(tmp_path / "file")
    assert not refused.put(KEY, b"value") and not refused.put(OTHER, b"value")
    assert capsys.readouterr().err.count("note: values are not kept") == 1
    assert (tmp_path / "file").read_bytes() == b"mine"
