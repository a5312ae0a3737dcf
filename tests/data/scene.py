"""A folder of clips with a cache that knows it, for tests of the cache."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dataset import TextToSignDataset
from tests.conftest import moving_square, write_clips_folder, write_pair
from utils.reading.clip_cache import INDEX

NUM_CLIPS = 9  # eight, and one that is too short
VALUE_BYTES = 4 * 16 * 16 * 3 + 4  # pixels, checksum


@dataclass
class Scene:
    """A folder of clips, a cache that knows it, and how it is read."""

    folder: Path
    cache_dir: Path
    size: dict[str, int] = field(default_factory=lambda: {"num_frames": 4, "image_size": 16})

    @property
    def index(self) -> Path:
        (found,) = self.cache_dir.glob(f"clips/*/??/{INDEX}")
        return found

    @property
    def values(self) -> list[Path]:
        """The files of pixels, one for each clip."""
        return sorted(path for path in self.cache_dir.glob("clips/*/??/*") if path.name != INDEX)

    def gif(self, number: int) -> Path:
        return sorted(self.folder.glob("signer*.gif"))[number]

    def read(self, *, cached: bool = True, verify: bool = False) -> TextToSignDataset:
        return TextToSignDataset(
            self.folder, **self.size, cache_dir=self.cache_dir if cached else "", verify=verify and cached
        )


def make_scene(place: Path) -> Scene:
    """Eight good clips, one of two frames, one that is broken, all from last year; the cache is warm."""
    folder = write_clips_folder(place / "clips")
    write_pair(folder, "short", moving_square(3, num_frames=2), "short")
    broken = write_pair(folder, "broken", moving_square(4), "broken")
    broken.write_bytes(broken.read_bytes()[:-40])
    for path in folder.iterdir():
        age(path)
    scene = Scene(folder, place / "cache")
    scene.read()
    return scene


def age(path: Path, *, year: int = 365 * 86400 * 10**9) -> None:
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns - year))


def count_decoding(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A list that grows by one for every GIF that Pillow is given."""
    calls, opened = [], Image.open
    monkeypatch.setattr(Image, "open", lambda *args, **kwargs: (calls.append(args), opened(*args, **kwargs))[1])
    return calls


def content(data: TextToSignDataset) -> dict[str, Any]:
    frames = [data.frames(index).tobytes() for index in range(len(data))]
    return {"names": data.names, "texts": data.texts, "frames": frames, "wrong": [data.problems]}


def assert_same_as_without_a_cache(scene: Scene) -> None:
    assert content(scene.read()) == content(scene.read(cached=False))
