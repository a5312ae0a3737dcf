"""clip_cache.py while it writes: starts that end too early, starts at the same time, disks that refuse."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from config import ConfigError
from tests.conftest import moving_square, write_pair
from tests.data.scene import (
    NUM_CLIPS,
    VALUE_BYTES,
    Scene,
    assert_same_as_without_a_cache,
    content,
    count_decoding,
    make_scene,
)


@pytest.fixture
def warm(tmp_path: Path) -> Scene:
    return make_scene(tmp_path)


@pytest.fixture
def cold(warm: Scene) -> Scene:
    shutil.rmtree(warm.cache_dir)
    return warm


# ---- Ends that come too early ---------------------------------------------------------------------------------------


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_what_was_decoded_before_ctrl_c_is_not_decoded_again(cold: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = count_decoding(monkeypatch)
    counted = Image.open
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", lambda *a, **k: counted(*a, **k) if len(decoded) < 5 else interrupt())
        with pytest.raises(KeyboardInterrupt):
            cold.read()
    assert len(decoded) == len(cold.values) == 5
    cold.read()
    assert len(decoded) == NUM_CLIPS
    assert_same_as_without_a_cache(cold)


def test_an_interrupted_start_throws_nothing_away(warm: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pair(warm.folder, "aaa", moving_square(0, num_frames=7), "first in the order of names")
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", interrupt)
        with pytest.raises(KeyboardInterrupt):
            warm.read()
    assert len(warm.values) == NUM_CLIPS
    decoded = count_decoding(monkeypatch)
    warm.read()
    assert len(decoded) == 1


def read_and_die(scene: Scene, after: int) -> None:
    opened, calls = Image.open, []

    def open_or_die(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) > after:
            os.kill(os.getpid(), signal.SIGKILL)
        return opened(*args, **kwargs)

    Image.open = open_or_die
    scene.read()


def test_what_a_killed_process_decoded_is_not_decoded_again(cold: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # so that no other thread is at its clip
    process = multiprocessing.get_context("fork").Process(target=read_and_die, args=(cold, 5))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL and len(cold.values) == 5
    decoded = count_decoding(monkeypatch)
    cold.read()
    assert len(decoded) == NUM_CLIPS - 5
    assert_same_as_without_a_cache(cold)


# ---- Several at once ------------------------------------------------------------------------------------------------


def read_at_once(scene: Scene, barrier: Any, results: Any) -> None:
    opened, calls = Image.open, []
    Image.open = lambda *args, **kwargs: (calls.append(args), opened(*args, **kwargs))[1]
    barrier.wait(60)
    found = content(scene.read())
    results.put((len(calls), found))


def test_processes_that_start_together_agree_and_leave_a_whole_cache(
    cold: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(3), context.Queue()
    processes = [context.Process(target=read_at_once, args=(cold, barrier, results)) for _ in range(3)]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    wanted = content(cold.read(cached=False))
    assert all(one == wanted for _, one in found)
    decoded = count_decoding(monkeypatch)
    assert content(cold.read()) == wanted and decoded == []


def test_a_run_keeps_its_clips_when_another_start_drops_them(warm: Scene) -> None:
    data, wanted = warm.read(), content(warm.read(cached=False))
    away = warm.folder.with_name("away")
    away.mkdir()
    moved = [warm.gif(number) for number in range(6)]
    for gif in moved:
        gif.rename(away / gif.name)
    assert len(warm.read()) == NUM_CLIPS - 6
    for gif in moved:
        (away / gif.name).rename(gif)
    assert content(data) == wanted


# ---- Disks that refuse ----------------------------------------------------------------------------------------------


def test_a_disk_that_fills_up_is_told_once_and_the_clips_are_all_there(
    cold: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (VALUE_BYTES - 1, limits[1]))
    try:
        assert_same_as_without_a_cache(cold)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (note,) = notes(capsys)
    assert note.startswith("note: ") and str(cold.cache_dir) in note and "--set CACHE_DIR=FOLDER" in note
    decoded = count_decoding(monkeypatch)
    cold.read()
    assert len(decoded) == len(cold.values) == NUM_CLIPS and notes(capsys) == []


def notes(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What was said beside the progress bar."""
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    return [line for line in lines if line and not line.startswith("reading clips")]


def read_only(folder: Path) -> Path:
    """A folder that takes no file, from root neither."""
    if os.geteuid() == 0:
        return Path("/proc/self/cache")
    folder.mkdir()
    folder.chmod(0o500)
    return folder


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/self").is_dir(), reason="root may write everywhere here")
def test_a_folder_that_cannot_be_written_is_told_once_and_the_clips_are_all_there(
    warm: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warm.cache_dir = read_only(tmp_path / "read_only")
    assert_same_as_without_a_cache(warm)
    (note,) = notes(capsys)
    assert note.startswith("note: ") and "--set CACHE_DIR=FOLDER" in note


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_warm_cache_that_cannot_be_written_is_read(
    warm: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = count_decoding(monkeypatch)
    warm.index.parent.parent.chmod(0o500)
    assert_same_as_without_a_cache(warm)
    assert len(decoded) == NUM_CLIPS and notes(capsys) == []  # those without a cache


def test_a_cache_folder_that_is_a_file_is_a_mistake_told_in_one_line(warm: Scene, tmp_path: Path) -> None:
    warm.cache_dir = tmp_path / "taken"
    warm.cache_dir.write_bytes(b"mine")
    with pytest.raises(ConfigError, match="taken is a file; wanted a folder") as caught:
        warm.read()
    assert "\n" not in str(caught.value) and warm.cache_dir.read_bytes() == b"mine"


def test_a_file_where_the_clips_should_be_is_told_once(cold: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    cold.cache_dir.mkdir()
    (cold.cache_dir / "clips").write_bytes(b"mine")
    assert_same_as_without_a_cache(cold)
    assert len(notes(capsys)) == 1
