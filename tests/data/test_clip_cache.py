"""clip_cache.py through the dataset: whatever changes, what is read through the cache is what the files say."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL
import pytest

from dataset import TextToSignDataset
from tests.conftest import moving_square, write_clips_folder, write_pair
from tests.data.scene import (
    NUM_CLIPS,
    VALUE_BYTES,
    Scene,
    assert_same_as_without_a_cache,
    content,
    count_decoding,
    make_scene,
)
from utils.reading import clip_cache
from utils.video import VideoError


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return make_scene(tmp_path)


# ---- Changes of clips -----------------------------------------------------------------------------------------------

Change = Callable[[Scene], Any]


def edit(scene: Scene) -> None:
    """Other bytes, as many as there were."""
    gif = scene.gif(0)
    data = gif.read_bytes()
    gif.write_bytes(data.replace(bytes([255, 0, 0]), bytes([254, 0, 0])))
    assert gif.read_bytes() != data and gif.stat().st_size == len(data)


def swap(scene: Scene) -> None:
    one, two = scene.gif(1).read_bytes(), scene.gif(2).read_bytes()
    scene.gif(1).write_bytes(two)
    scene.gif(2).write_bytes(one)


def write(name: str, number: int, num_frames: int) -> Change:
    return lambda scene: write_pair(scene.folder, name, moving_square(number, num_frames=num_frames), name)


def rename_to(name: str) -> Change:
    def change(scene: Scene) -> None:
        gif = scene.gif(5)
        (scene.folder / name).parent.mkdir(exist_ok=True)
        for path in (gif, gif.with_suffix(".txt")):
            path.rename(scene.folder / f"{name}{path.suffix}")

    return change


def remove(*numbers: int) -> Change:
    def change(scene: Scene) -> None:
        for gif in [scene.gif(number) for number in numbers]:
            gif.unlink()
            gif.with_suffix(".txt").unlink()

    return change


def break_file(scene: Scene) -> None:
    scene.gif(0).write_bytes(scene.gif(0).read_bytes()[:-40])


def move(scene: Scene) -> None:
    scene.folder = scene.folder.rename(scene.folder.with_name("elsewhere"))


def exchange_folders(scene: Scene) -> None:
    shutil.rmtree(scene.folder)
    write_pair(scene.folder, "signer0__clip0", moving_square(7), "another")


def resize(**size: int) -> Change:
    return lambda scene: scene.size.update(size)


# ---- Changes of the cache's files -----------------------------------------------------------------------------------


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x01
    path.write_bytes(data)


def with_values(change: Callable[[Path], Any], *numbers: int) -> Change:
    """``change`` of the files of some clips' pixels."""
    return lambda scene: [change(path) for path in [scene.values[number] for number in numbers]]


def exchange_values(scene: Scene) -> None:
    one, two = scene.values[:2]
    data = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(data)


def half_written(scene: Scene) -> None:
    place = scene.values[0].parent
    (place / f".{'0' * 64}.1.partial").write_bytes(b"half")


def take_another_s_files(scene: Scene) -> None:
    own = scene.index.parent.parent
    Scene(scene.folder, scene.cache_dir, {"num_frames": 16, "image_size": 8}).read()  # clips of the same length
    (other,) = (place for place in own.parent.iterdir() if place != own)
    shutil.rmtree(own)
    other.rename(own)


def then(first: Change, second: Change) -> Change:
    return lambda scene: (first(scene), second(scene))


CHANGES: list[tuple[str, Change, int]] = [
    ("Nothing changes.", lambda s: None, 0),
    ("A GIF gets other bytes, as many as it had.", edit, 1),
    ("A GIF gets another time and keeps its bytes.", lambda s: os.utime(s.gif(0), (1, 1)), 0),
    ("Two GIFs change places.", swap, 0),
    ("A pair gets another name.", rename_to("aaa"), 0),
    ("A pair moves into a sub-folder.", rename_to("deeper/clip"), 0),
    ("A pair comes new.", write("new", 3, 6), 1),
    ("A clip comes under a second name.", write("twin", 0, 4), 0),
    ("A pair goes.", remove(3), 0),
    ("Most pairs go.", remove(0, 1, 2, 3, 4, 5), 0),
    ("A caption changes.", lambda s: s.gif(0).with_suffix(".txt").write_text("other"), 0),
    ("A caption goes.", lambda s: s.gif(0).with_suffix(".txt").unlink(), 0),
    ("A clip becomes shorter than NUM_FRAMES.", write("signer0__clip0", 0, 3), 1),
    ("A short clip becomes long enough.", write("short", 3, 5), 1),
    ("A whole file becomes broken.", break_file, 0),
    ("A broken file becomes whole.", write("broken", 4, 4), 1),
    ("NUM_FRAMES grows.", resize(num_frames=5), NUM_CLIPS),
    ("NUM_FRAMES shrinks.", resize(num_frames=2), NUM_CLIPS),
    ("IMAGE_SIZE changes.", resize(image_size=12), NUM_CLIPS),
    ("The data folder moves.", move, NUM_CLIPS),
    ("Another data folder takes its place and name.", exchange_folders, 1),
    ("The cache is deleted.", lambda s: shutil.rmtree(s.cache_dir), NUM_CLIPS),
    ("The index is deleted.", lambda s: s.index.unlink(), 0),
    ("The index is emptied.", lambda s: os.truncate(s.index, 0), 0),
    ("The index is cut.", lambda s: os.truncate(s.index, 1000), 0),
    ("A byte of the index flips.", lambda s: flip(s.index, 1000), 0),
    ("A byte of the index is no text.", lambda s: s.index.write_bytes(s.index.read_bytes() + b"\xff"), 0),
    ("All pixels are deleted.", with_values(Path.unlink, *range(NUM_CLIPS)), NUM_CLIPS),
    ("Three clips' pixels are deleted.", with_values(Path.unlink, 8, 4, 0), 3),
    ("A clip's pixels are emptied.", with_values(lambda path: os.truncate(path, 0), 3), 1),
    ("A clip's pixels are cut.", with_values(lambda path: os.truncate(path, 1000), 3), 1),
    ("A clip's last byte is cut.", with_values(lambda path: os.truncate(path, VALUE_BYTES - 1), 3), 1),
    ("A byte of a first pixel flips.", with_values(lambda path: flip(path, 4), 3), 1),
    ("A byte of a last pixel flips.", with_values(lambda path: flip(path, VALUE_BYTES - 5), 3), 1),
    ("A clip is filled with zeros.", with_values(lambda path: path.write_bytes(bytes(VALUE_BYTES)), 3), 1),
    ("A clip grows.", with_values(lambda path: path.write_bytes(path.read_bytes() + b"x"), 3), 1),
    ("Two clips exchange their pixels.", exchange_values, 2),
    ("A clip was half written when the process was killed.", half_written, 0),
    ("The files of another size of clip stand in their place.", take_another_s_files, NUM_CLIPS),
]
"""What happens after the cache was filled, and how many GIFs must be decoded then."""


@pytest.mark.parametrize(("sentence", "change", "num_decoded"), CHANGES, ids=[sentence for sentence, _, _ in CHANGES])
def test_after_any_change_the_clips_are_those_of_the_files(
    sentence: str, change: Change, num_decoded: int, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(scene)
    decoded = count_decoding(monkeypatch)
    first = content(scene.read())
    assert len(decoded) == num_decoded
    second = content(scene.read())
    assert len(decoded) == num_decoded  # none is decoded twice
    assert first == second == content(scene.read(cached=False))


def garbage(scene: Scene) -> None:
    """Nonsense in every clip and caption, of the same size and time."""
    for path in scene.folder.iterdir():
        before = path.stat()
        path.write_bytes(b"x" * before.st_size)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_second_start_reads_none_of_the_clips_and_captions(scene: Scene) -> None:
    before = content(scene.read())
    garbage(scene)
    found = content(scene.read())
    (problem,) = found["wrong"][0]
    assert "broken.gif" in problem.text  # what could not be used is looked at again
    assert {**found, "wrong": []} == {**before, "wrong": []}


def test_a_change_that_keeps_size_and_time_is_found_by_verifying_alone(scene: Scene) -> None:
    one, two = scene.gif(1), scene.gif(2)
    before = [path.stat() for path in (one, two)]
    for path, found in zip((one.with_suffix(".txt"), one), (one.with_suffix(".txt").stat(), before[0]), strict=True):
        data = path.read_bytes().replace(b"thank", b"thonk").replace(bytes([0, 255, 0]), bytes([0, 254, 0]))
        path.write_bytes(data)
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    wanted = content(scene.read(cached=False))
    assert content(scene.read()) != wanted == content(scene.read(verify=True))
    assert content(scene.read()) == wanted


def test_pixels_that_rot_without_a_trace_are_found_by_verifying(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    flip(scene.values[0], 700)
    decoded = count_decoding(monkeypatch)
    scene.read(verify=True)
    assert len(decoded) == 1
    assert_same_as_without_a_cache(scene)


def test_a_file_that_may_still_change_within_its_clock_s_tick_is_read_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    gif = scene.gif(0)
    os.utime(gif)
    found = gif.stat()
    scene.read()
    edit(scene)
    os.utime(gif, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert_same_as_without_a_cache(scene)


@pytest.mark.parametrize(
    ("owner", "name"), [(clip_cache, "PREPROCESSING"), (PIL, "__version__")], ids=["preprocessing", "decoder"]
)
def test_another_version_of_the_code_decodes_everything_anew(
    owner: object, name: str, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = count_decoding(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, "another")
        scene.read()
        assert len(decoded) == NUM_CLIPS
        assert_same_as_without_a_cache(scene)
    assert_same_as_without_a_cache(scene)


def test_a_clip_of_one_frame_is_named_whatever_the_cache_holds(scene: Scene) -> None:
    write("signer0__clip0", 0, 1)(scene)
    for _ in range(2):
        data = scene.read()
        assert any("one frame; wanted a clip of at least 2" in problem.text for problem in data.problems)
        assert content(data) == content(scene.read(cached=False))


def test_clips_are_read_only_and_outlive_the_cache(scene: Scene) -> None:
    data, wanted = scene.read(), content(scene.read(cached=False))
    with pytest.raises(ValueError, match="read-only"):
        data.frames(0)[0, 0, 0, 0] = 1
    shutil.rmtree(scene.cache_dir)
    assert content(data) == wanted  # decoded again
    assert content(data) == wanted and len(scene.values) == NUM_CLIPS


def test_a_lost_clip_whose_file_has_changed_meanwhile_is_an_error(scene: Scene) -> None:
    data = scene.read()
    shutil.rmtree(scene.cache_dir)
    edit(scene)
    with pytest.raises(VideoError, match="another clip than when this run began"):
        content(data)


def test_without_a_cache_folder_nothing_is_written(tmp_path: Path, here: Path) -> None:
    write_clips_folder(tmp_path / "clips")
    TextToSignDataset(tmp_path / "clips", num_frames=4, image_size=16, cache_dir="")
    assert list(here.iterdir()) == [] and sorted(path.name for path in tmp_path.iterdir()) == ["clips", "here"]


def test_pixels_of_clips_that_are_gone_go_too(scene: Scene) -> None:
    remove(0, 1, 2)(scene)
    scene.read()
    assert len(scene.values) == NUM_CLIPS - 3
