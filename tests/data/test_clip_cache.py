"""utils/clip_cache.py through the dataset: whatever changes, what is read through the cache is what the files say."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import PIL
import pytest
from PIL import Image

import utils.clip_cache as clip_cache
from dataset import TextToSignDataset
from tests.conftest import moving_square, write_clips_folder, write_pair
from utils.clip_cache import HEAD_BYTES, digest_of_files

NUM_CLIPS = 9  # eight, and one that is too short and remarked
PIXELS = 4 * 16 * 16 * 3
RECORD_BYTES = 4 + 4 + 32 + PIXELS


@dataclass
class Scene:
    """A folder of clips, a cache that knows it, and how it is read."""

    folder: Path
    cache_dir: Path
    size: dict[str, int] = field(default_factory=lambda: {"num_frames": 4, "image_size": 16})

    @property
    def file(self) -> Path:
        (found,) = (self.cache_dir / "clips").glob("*.clips")
        return found

    def gif(self, number: int) -> Path:
        return sorted(self.folder.glob("signer*.gif"))[number]

    def read(self, *, cached: bool = True) -> TextToSignDataset:
        return TextToSignDataset(self.folder, **self.size, cache_dir=self.cache_dir if cached else "")


def make_scene(place: Path) -> Scene:
    """Eight good clips, one of two frames, one that is broken; the cache is warm."""
    folder = write_clips_folder(place / "clips")
    write_pair(folder, "short", moving_square(3, num_frames=2), "short")
    broken = write_pair(folder, "broken", moving_square(4), "broken")
    broken.write_bytes(broken.read_bytes()[:-40])
    scene = Scene(folder, place / "cache")
    scene.read()
    return scene


def count_decoding(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A list that grows by one for every GIF that Pillow is given."""
    calls, opened = [], Image.open
    monkeypatch.setattr(Image, "open", lambda *args, **kwargs: (calls.append(args), opened(*args, **kwargs))[1])
    return calls


def content(data: TextToSignDataset) -> dict[str, Any]:
    frames = [data.frames(index).tobytes() for index in range(len(data))]
    return {"names": data.names, "texts": data.texts, "frames": frames, "wrong": [data.problems, data.remarks]}


def assert_same_as_without_a_cache(scene: Scene) -> None:
    assert content(scene.read()) == content(scene.read(cached=False))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return make_scene(tmp_path)


# ---- Changes of clips -----------------------------------------------------------------------------------------------

Change = Callable[[Scene], Any]


def edit_in_place(scene: Scene) -> None:
    gif = scene.gif(0)
    before, data = gif.stat(), gif.read_bytes()
    gif.write_bytes(data.replace(bytes([255, 0, 0]), bytes([254, 0, 0])))
    os.utime(gif, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert gif.read_bytes() != data
    assert (gif.stat().st_size, gif.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


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


# ---- Changes of the cache's file ------------------------------------------------------------------------------------


def overwrite(at: int, data: bytes) -> Change:
    def change(scene: Scene) -> None:
        with open(scene.file, "r+b") as file:
            file.seek(at)
            file.write(data)

    return change


def flip(at: int) -> Change:
    return lambda scene: overwrite(at, bytes([scene.file.read_bytes()[at] ^ 0x10]))(scene)


def cut(num_bytes: int) -> Change:
    return lambda scene: os.truncate(scene.file, num_bytes)


def append(num_bytes: int) -> Change:
    return lambda scene: scene.file.write_bytes(scene.file.read_bytes() + bytes(num_bytes))


def exchange_pixels(scene: Scene) -> None:
    data, one, two = bytearray(scene.file.read_bytes()), HEAD_BYTES + 40, HEAD_BYTES + 40 + RECORD_BYTES
    data[one : one + PIXELS], data[two : two + PIXELS] = data[two : two + PIXELS], data[one : one + PIXELS]
    scene.file.write_bytes(data)


def take_another_file(scene: Scene) -> None:
    own = scene.file
    Scene(scene.folder, scene.cache_dir, {"num_frames": 16, "image_size": 8}).read()  # records of the same length
    next(path for path in own.parent.glob("*.clips") if path != own).replace(own)


def then(first: Change, second: Change) -> Change:
    return lambda scene: (first(scene), second(scene))


THIRD = HEAD_BYTES + 2 * RECORD_BYTES  # where the third record begins
END = HEAD_BYTES + NUM_CLIPS * RECORD_BYTES
CHANGES: list[tuple[str, Change, int]] = [
    ("Nothing changes.", lambda s: None, 0),
    ("A GIF gets other bytes, with the size and the time that it had.", edit_in_place, 1),
    ("A GIF gets another time and keeps its bytes.", lambda s: os.utime(s.gif(0), (1, 1)), 0),
    ("Two GIFs change places.", swap, 0),
    ("A pair gets another name.", rename_to("aaa"), 0),
    ("A pair moves into a sub-folder.", rename_to("deeper/clip"), 0),
    ("A pair comes new.", write("new", 3, 6), 1),
    ("A clip comes under a second name.", write("twin", 0, 4), 0),
    ("A pair goes.", remove(3), 0),
    ("Most pairs go, so that the file is written anew.", remove(0, 1, 2, 3, 4, 5), 0),
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
    ("The cache's file is emptied.", cut(0), NUM_CLIPS),
    ("The cache's file is cut in its head.", cut(100), NUM_CLIPS),
    ("The cache's file is cut behind its head.", cut(HEAD_BYTES), NUM_CLIPS),
    ("The cache's file is cut between two records.", cut(END - 3 * RECORD_BYTES), 3),
    ("The cache's file is cut within a record.", cut(END - 3 * RECORD_BYTES + 1), 3),
    ("The cache's file is cut before its last byte.", cut(END - 1), 1),
    ("A byte of a checksum flips.", flip(THIRD + 1), 1),
    ("A byte of the number of frames flips.", flip(THIRD + 4), 1),
    ("A byte of a key flips.", flip(THIRD + 20), 1),
    ("A byte of a first pixel flips.", flip(THIRD + 40), 1),
    ("A byte of a last pixel flips.", flip(THIRD + RECORD_BYTES - 1), 1),
    ("A byte of the head flips.", flip(30), NUM_CLIPS),
    ("A record is filled with zeros, as after a power cut.", overwrite(THIRD, bytes(RECORD_BYTES)), 1),
    ("Two records exchange their pixels.", exchange_pixels, 2),
    ("A record was half written when the process was killed.", append(RECORD_BYTES // 2), 0),
    ("A pair comes after a record was half written.", then(append(RECORD_BYTES // 2), write("new", 3, 6)), 1),
    ("A record of zeros stands at the end.", append(RECORD_BYTES), 0),
    ("The file of another size of clip stands in its place.", take_another_file, NUM_CLIPS),
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


@pytest.mark.parametrize(
    ("owner", "name"), [(clip_cache, "PREPROCESSING"), (PIL, "__version__")], ids=["preprocessing", "decoder"]
)
def test_another_version_of_the_code_decodes_everything_anew(
    owner: object, name: str, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, decoded = scene.file.stat().st_size, count_decoding(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, "another")
        scene.read()
        assert len(decoded) == NUM_CLIPS and scene.file.stat().st_size == size  # in the place of the old ones
        assert_same_as_without_a_cache(scene)
    assert_same_as_without_a_cache(scene)


def test_any_edit_of_the_code_that_makes_the_pixels_is_another_version(tmp_path: Path) -> None:
    sources = [str(module.__file__) for module in (clip_cache.gif_blocks, clip_cache.video)]
    assert digest_of_files(sources) == clip_cache.PREPROCESSING
    edited = tmp_path / "video.py"
    edited.write_bytes(Path(sources[1]).read_bytes().replace(b"LANCZOS", b"BICUBIC"))
    assert digest_of_files([sources[0], str(edited)]) != clip_cache.PREPROCESSING


def test_a_clip_of_one_frame_is_named_whatever_the_cache_holds(scene: Scene) -> None:
    write("signer0__clip0", 0, 1)(scene)
    for _ in range(2):
        data = scene.read()
        assert any("one frame; wanted a clip of at least 2" in problem for problem in data.problems)
        assert content(data) == content(scene.read(cached=False))


def test_the_mapped_clips_are_read_only_and_outlive_the_file(scene: Scene) -> None:
    data, wanted = scene.read(), content(scene.read(cached=False))
    with pytest.raises(ValueError, match="read-only"):
        data.frames(0)[0, 0, 0, 0] = 1
    shutil.rmtree(scene.cache_dir)
    assert content(data) == wanted


def test_without_a_cache_folder_nothing_is_written(tmp_path: Path, here: Path) -> None:
    write_clips_folder(tmp_path / "clips")
    TextToSignDataset(tmp_path / "clips", num_frames=4, image_size=16, cache_dir="")
    assert list(here.iterdir()) == [] and sorted(path.name for path in tmp_path.iterdir()) == ["clips", "here"]


def test_a_folder_whose_clips_come_and_go_keeps_no_more_than_twice_what_it_needs(scene: Scene) -> None:
    most = 2 * (NUM_CLIPS + 1)
    sizes = []
    for number in range(25):
        square = moving_square(0)
        square[:, 0, 0] = number
        write_pair(scene.folder, "guest", square, "here today")
        scene.read()
        sizes.append((scene.file.stat().st_size - HEAD_BYTES) // RECORD_BYTES)
    assert max(sizes) == most and sorted(sizes) != sizes
    assert_same_as_without_a_cache(scene)
