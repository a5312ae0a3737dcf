"""utils/files.py: whole files or none, whoever dies and whatever the disk says."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import BinaryIO

import pytest

from utils import files, processes
from utils.files import FileError, replacing, write_file


def write_and_die(path: Path) -> None:
    def content(file: BinaryIO) -> None:
        file.write(b"half of it")
        file.flush()
        os._exit(9)

    write_file(path, content)


def test_bytes_and_what_a_writer_writes_arrive_with_the_folders_above(tmp_path: Path) -> None:
    write_file(tmp_path / "new" / "folder" / "a.txt", b"one")
    write_file(tmp_path / "new" / "folder" / "a.txt", lambda file: [file.write(b"tw"), file.write(b"o")])
    assert (tmp_path / "new" / "folder" / "a.txt").read_bytes() == b"two"
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["a.txt"]


def test_who_reads_the_old_file_reads_it_whole(tmp_path: Path) -> None:
    write_file(tmp_path / "a", b"old" * 100_000)
    with open(tmp_path / "a", "rb") as reader:
        write_file(tmp_path / "a", b"new")
        assert reader.read() == b"old" * 100_000
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("mine"), OSError(28, "No space left on device")])
def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    def content(file: BinaryIO) -> None:
        file.write(b"half")
        raise error

    write_file(tmp_path / "a", b"old")
    with pytest.raises(FileError if isinstance(error, OSError) else type(error)) as caught:
        write_file(tmp_path / "a", content)
    if isinstance(error, OSError):
        assert str(caught.value) == f"{tmp_path / 'a'} cannot be written: No space left on device."
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"old"


def test_a_process_that_dies_while_writing_leaves_the_old_file_and_half_a_hidden_one(tmp_path: Path) -> None:
    write_file(tmp_path / "a", b"old")
    dying = multiprocessing.get_context("spawn").Process(target=write_and_die, args=(tmp_path / "a",))
    dying.start()
    dying.join()
    assert dying.exitcode == 9 and (tmp_path / "a").read_bytes() == b"old"
    assert (tmp_path / f".a.{dying.pid}.partial").read_bytes() == b"half of it"


@pytest.mark.parametrize("place", ["taken/a", "a" * 300])
def test_a_place_where_no_file_can_be_is_one_clear_line(tmp_path: Path, place: str) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(FileError, match="cannot be written: (Not a directory|File exists|File name too long)"):
        write_file(tmp_path / place, b"new")
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize("durable", [True, False])
def test_what_must_outlive_a_power_cut_is_flushed_before_it_is_renamed_and_its_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    done: list[str] = []
    flush, rename = os.fsync, os.replace
    monkeypatch.setattr("os.fsync", lambda opened: [done.append("flush"), flush(opened)])
    monkeypatch.setattr("os.replace", lambda old, new: [done.append("rename"), rename(old, new)])
    with replacing(tmp_path / "a", durable=durable) as partial:
        partial.write_bytes(b"new")
    assert done == (["flush", "rename", "flush"] if durable else ["rename"])


def test_windows_refuses_while_somebody_reads_and_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, refusals = os.replace, [PermissionError(13, "Access is denied")] * 3

    def refuse(old: Path, new: Path) -> None:
        if refusals:
            raise refusals.pop()
        rename(old, new)

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(FileError, match="Access is denied"):  # elsewhere it means what it says
        write_file(tmp_path / "a", b"new")
    monkeypatch.setattr(processes, "IS_POSIX", False)
    monkeypatch.setattr("time.sleep", lambda _: None)
    write_file(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new" and refusals == []
    refusals[:] = [PermissionError(13, "Access is denied")] * (files.RENAME_TRIES + 1)
    with pytest.raises(FileError, match="Access is denied"):
        write_file(tmp_path / "a", b"newer")
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"new"
