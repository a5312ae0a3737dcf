"""Clips and captions on disk -> tensors, texts and names; what a checkpoint remembers of them.

What lies where is a layout's to say (``utils/layouts``), what a file shows a reader's (``utils/reading``). Decoded
clips are uint8, 196 KB each at 16 x 64 x 64, in memory or read from a file of their own whenever they are asked for
(``utils/reading/clip_cache.py``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from config import Config, UserError
from utils.fingerspelling.folder import MANIFEST, copies_in
from utils.layouts.listing import Problem, Row
from utils.layouts.registry import read_listing
from utils.processes import world
from utils.reading.clip_cache import Clip, ClipCache
from utils.runtime import generator
from utils.split import Parts, split
from utils.video import batch_from_uint8

STATISTICS_VALUES = 2**18  # of clips at a time, when statistics are taken: 2 MB in float64, which the processor caches


class DatasetError(UserError):
    """The data folder holds nothing to train on, or a file in it cannot be used."""


class TextToSignDataset:
    """The usable clips of a folder, in the order of their names.

    ``layout`` is how they lie; ``problems`` names every clip that was left out and every file that is not listed, with
    the reason; ``remarks`` tell what was guessed or changed of those in use. ``copies`` are the clips that show another
    one once more, with that one's name. Of each clip there are its ``rows`` in the listing, ``names``, ``texts``, and
    ``facts`` of its file.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        num_frames: int,
        image_size: int,
        rate: float | None = None,
        data_format: str = "auto",
        cache_dir: str | Path = "",
        verify: bool = False,
        may_be_empty: bool = False,
    ) -> None:
        """Read the whole folder, of what ``cache_dir`` knows only sizes and times, unless ``verify``.

        ``rate``: frames per second, of which a clip is any window; None: ``num_frames`` evenly over the whole.

        Raises:
            DatasetError: no folder, or no usable clip in it, unless it ``may_be_empty``.
            LayoutError: the list of its clips is missing or broken.
            ConfigError: ``cache_dir`` is a file.
        """
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise DatasetError(f"DATA_DIR={folder} is no folder." + _CURE)
        self._num_frames, self._rate = num_frames, rate
        size = {"num_frames": num_frames, "image_size": image_size, "rate": rate}
        with ClipCache(cache_dir, self.folder, **size, verify=verify) as self._cache:
            self.layout, listing = read_listing(self.folder, data_format, recall=self._cache.recall)
            clips = self._cache.clips(listing.rows)
        used = [(row, clip) for row, clip in zip(listing.rows, clips, strict=True) if isinstance(clip, Clip)]
        unreadable = [Problem("unreadable", str(clip)) for clip in clips if not isinstance(clip, Clip)]
        self.problems = [*listing.problems, *unreadable]
        self.rows = [row for row, _ in used]
        self.names, self.texts = [row.name for row in self.rows], [row.text for row in self.rows]
        self.facts = [clip.facts for _, clip in used]
        self._keys = [clip.key for _, clip in used]
        self.remarks = listing.remarks + [
            f"{row.path}: {remark}" for row, clip in used for remark in clip.facts.remarks
        ]
        self.copies = copies_among(self.folder, self.names)
        if not self.names and not may_be_empty:
            first = f"{len(self.problems)} left out, first {self.problems[0].text}" if self.problems else ""
            raise DatasetError(f"{self.folder} holds no usable clip. {first or 'It is empty of clips'}." + _CURE)

    def __len__(self) -> int:
        return len(self.names)

    def content(self, index: int) -> str:
        """A digest of a clip's file and window: the same for clips that are the same, whatever their names."""
        return self._keys[index]

    def frames(self, index: int, place: float = 0.5) -> np.ndarray:
        """(F, H, W, 3) uint8, read-only; at a rate the window at ``place`` in [0, 1) of where it can lie.

        Raises:
            VideoError: what was kept is lost, and the clip's file has changed.
        """
        found = self._cache.frames(self._keys[index])
        first = int(place * (len(found) - self._num_frames + 1))
        return found[first : first + self._num_frames]

    def videos(self, indices: list[int], *, drawn: tuple[int, int] | None = None) -> Tensor:
        """(B, 3, F, H, W) float32 in [-1, 1].

        ``drawn`` (SEED, epoch): at a rate, of each clip any window, a pure function of both and its name; None: the one
        in the middle.
        """
        if drawn is None or self._rate is None:
            return batch_from_uint8([self.frames(index) for index in indices])
        seed, epoch = drawn
        draws = [generator(seed, "window", epoch, self.names[index]) for index in indices]
        places = [float(torch.rand((), generator=draw)) for draw in draws]
        return batch_from_uint8([self.frames(index, place) for index, place in zip(indices, places, strict=True)])

    def frames_per_second(self, indices: list[int]) -> float:
        """At which these clips, as they are trained on, show what happened as fast as it did: the median of them."""
        return self._rate or median(self._num_frames / self.facts[index].seconds for index in indices)

    def batches(self, indices: list[int]) -> list[list[int]]:
        """The indices, so many together that their clips need little memory at a time."""
        size = max(1, STATISTICS_VALUES // self.frames(indices[0]).size)
        return [indices[start : start + size] for start in range(0, len(indices), size)]

    def statistics(
        self, indices: list[int], *, encode: Callable[[Tensor], Tensor] = lambda video: video
    ) -> tuple[Tensor, float]:
        """Mean over clips and frames at every place (C, 1, H, W) float32, and the deviation of all values around it.

        Of pixels, or of what ``encode`` makes of ``videos``, (B, C, F, H, W).
        """
        total: Tensor | float = 0.0
        squares, parts = 0.0, self.batches(indices)
        for part in parts:
            for clip_mean in encode(self.videos(part)).double().mean(2, keepdim=True):
                total = total + clip_mean
        mean = total / len(indices)
        for part in parts:
            for clip_square in (encode(self.videos(part)).double() - mean).square_().mean((1, 2, 3, 4)).tolist():
                squares += clip_square
        return mean.float(), (squares / len(indices)) ** 0.5


_CURE = (
    " Put NAME.mp4 with NAME.txt there, name another folder with --set DATA_DIR=FOLDER, "
    "or make clips: python main.py prepare-data"
)


def load_dataset(config: Config, *, verify: bool = False, may_be_empty: bool = False) -> TextToSignDataset:
    """The dataset that the config names; of the processes on a machine the first verifies it.

    Raises:
        UserError: as ``TextToSignDataset``.
    """
    return TextToSignDataset(
        config.DATA_DIR, num_frames=config.NUM_FRAMES, image_size=config.IMAGE_SIZE, rate=config.FRAME_RATE,
        data_format=config.DATA_FORMAT, cache_dir=config.CACHE_DIR, verify=verify and world().local_rank == 0,
        may_be_empty=may_be_empty,
    )  # fmt: skip


class Listed(Protocol):
    """Clips by what is listed of them, as ``TextToSignDataset`` has it."""

    rows: list[Row]
    names: list[str]
    copies: dict[str, str]

    def __len__(self) -> int: ...

    def content(self, index: int) -> str: ...


def parts_of(config: Config, data: Listed) -> Parts:
    """Which of the clips train, which are held out, and which are for test.

    Raises:
        UserError: as ``split``.
    """
    contents = [data.content(i) for i in range(len(data))]
    return split(config, data.rows, copies=data.copies, contents=contents)


def told_doubles(data: Listed, parts: Parts) -> list[str]:
    """``a = b (test)`` of each training clip whose content is in another part too."""
    test = set(parts.test)
    return [
        f"{data.names[i]} = {data.names[other]} ({'test' if other in test else 'held out'})"
        for i, other in parts.doubled.items()
    ]


def copies_among(folder: Path, names: list[str]) -> dict[str, str]:
    """Name of each clip that ``prepare-data`` drew as a copy of another -> that one's; their own names say nothing."""
    found = {}
    for place in {name.rpartition("/")[0] for name in names}:
        above = f"{place}/" if place else ""
        found |= {above + copy: above + clip for copy, clip in copies_in(folder / place).items()}
    return found


def data_identity(data: TextToSignDataset, indices: list[int]) -> dict[str, int | str]:
    """What a checkpoint remembers of its training clips: how many, and a SHA-256 of their names and captions."""
    pairs = sorted((data.names[i], data.texts[i]) for i in indices)
    return {"num_clips": len(pairs), "digest": hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:16]}


def are_drawn(data: TextToSignDataset, indices: list[int]) -> bool:
    """Whether ``prepare-data`` drew all of these clips, so that none is a camera's."""
    folders = {(data.folder / data.names[i]).parent for i in indices}
    return all((folder / MANIFEST).is_file() for folder in folders)
