"""Clips and captions on disk -> tensors, texts and names; what a checkpoint remembers of them.

The form is ``NAME.gif`` beside ``NAME.txt``, sub-folders included. Frames are taken evenly over the clip, the shorter
side is resized, the centre is cropped, transparency is laid on white. A name ``GROUP__REST`` puts a clip into a group
(a signer, a source video) that the split keeps together. Decoded clips are uint8, 196 KB each at 16 x 64 x 64, in
memory or read from a file of their own whenever they are asked for (``utils/clip_cache.py``).
"""

from __future__ import annotations

import hashlib
import json
import stat
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from config import Config, UserError
from utils.clip_cache import ClipCache
from utils.fingerspelling.folder import MANIFEST, copies_in
from utils.gif import decode_gif
from utils.processes import world
from utils.video import VideoError, batch_from_uint8, fit_clip

MAX_CAPTION_BYTES = 10_000  # a caption is a sentence; anything longer is another file by mistake
STATISTICS_VALUES = 2**18  # of clips at a time, when statistics are taken: 2 MB in float64, which the processor caches

PARTS = attrgetter("parts")  # paths sort by them, and thousands of paths sort faster by given ones


class DatasetError(UserError):
    """The data folder holds nothing to train on, or a file in it cannot be used."""


class TextToSignDataset:
    """The usable clips of a folder, in the order of their names.

    ``problems`` names every file that was left out with its reason, ``copies`` each clip that shows another one
    once more, with that one's name.
    """

    def __init__(
        self, folder: str | Path, *, num_frames: int, image_size: int, cache_dir: str | Path = "", verify: bool = False
    ) -> None:
        """Read the whole folder, of what ``cache_dir`` knows only sizes and times, unless ``verify``.

        Raises:
            DatasetError: no folder, or no usable pair in it.
            ConfigError: ``cache_dir`` is a file.
        """
        self.folder = Path(folder)
        rows, self.problems = list_pairs(self.folder)
        self.names: list[str] = []
        self.texts: list[str] = []
        self._keys: list[str] = []
        size = {"num_frames": num_frames, "image_size": image_size}
        with ClipCache(cache_dir, self.folder, **size, verify=verify) as cache:
            for row in tqdm(rows, desc="reading clips", unit="clip", delay=1, leave=False):
                try:
                    text = cache.caption(row.caption, read_caption)
                    key = cache.clip(row.path, partial(_decode, row.path, **size))
                except (VideoError, DatasetError) as error:
                    self.problems.append(str(error))
                    continue
                self.names.append(row.name)
                self.texts.append(text)
                self._keys.append(key)
        self.copies = copies_among(self.folder, self.names)
        if not self.names:
            why = (
                f"{len(self.problems)} left out, first {self.problems[0]}"
                if self.problems
                else "It is empty of GIF files"
            )
            raise DatasetError(f"{self.folder} holds no usable clip. {why}." + _CURE)
        self._cache = cache

    def __len__(self) -> int:
        return len(self.names)

    def frames(self, index: int) -> np.ndarray:
        """(F, H, W, 3) uint8, as it is kept.

        Raises:
            VideoError: what was kept is lost, and the clip's file has changed.
        """
        return self._cache.frames(self._keys[index])

    def videos(self, indices: list[int]) -> Tensor:
        """(B, 3, F, H, W) float32 in [-1, 1]."""
        return batch_from_uint8([self.frames(index) for index in indices])

    def statistics(self, indices: list[int]) -> tuple[Tensor, float]:
        """Per-pixel mean over clips and frames (3, 1, H, W) float32, and the deviation of all pixels around it."""
        first = self.frames(indices[0])
        total = torch.zeros(3, 1, *first.shape[1:3], dtype=torch.float64)
        squares = 0.0
        size = max(1, STATISTICS_VALUES // first.size)
        parts = [indices[start : start + size] for start in range(0, len(indices), size)]
        for part in parts:
            for clip_mean in self.videos(part).double().mean(2, keepdim=True):
                total += clip_mean
        mean = total / len(indices)
        for part in parts:
            for clip_square in self.videos(part).double().sub_(mean).square_().mean((1, 2, 3, 4)).tolist():
                squares += clip_square
        return mean.float(), (squares / len(indices)) ** 0.5


_CURE = (
    " Put NAME.gif with NAME.txt there, name another folder with --set DATA_DIR=FOLDER, "
    "or make clips: python main.py prepare-data"
)


def load_dataset(config: Config, *, verify: bool = False) -> TextToSignDataset:
    """The dataset that the config names; of the processes on a machine the first verifies it.

    Raises:
        UserError: as ``TextToSignDataset``.
    """
    return TextToSignDataset(
        config.DATA_DIR, num_frames=config.NUM_FRAMES, image_size=config.IMAGE_SIZE, cache_dir=config.CACHE_DIR,
        verify=verify and world().local_rank == 0,
    )  # fmt: skip


class Row(NamedTuple):
    """A clip as a folder lists it, before any file is opened; ``name`` is its path in the folder, no suffix."""

    path: Path
    caption: Path
    name: str


def list_pairs(folder: Path) -> tuple[list[Row], list[str]]:
    """Every GIF with the caption beside it, in the order of names, and what has no partner or too many, with why.

    Raises:
        DatasetError: no folder.
    """
    if not folder.is_dir():
        raise DatasetError(f"DATA_DIR={folder} is no folder." + _CURE)
    problems: list[str] = []
    files: dict[str, dict[Path, Path]] = {".gif": {}, ".txt": {}}
    for path in sorted((path for path in folder.rglob("*") if path.suffix.lower() in files), key=PARTS):
        first = files[path.suffix.lower()].setdefault(path.with_suffix(""), path)
        if first is not path:
            problems.append(f"{path}: {first.name} beside it has the same name; wanted one of them")
    gifs, captions = files.values()
    for stem in sorted(gifs.keys() ^ captions.keys(), key=PARTS):
        wanted = f"no caption; wanted {stem.name}.txt" if stem in gifs else f"no clip; wanted {stem.name}.gif"
        problems.append(f"{gifs.get(stem) or captions[stem]}: {wanted} beside it")
    stems = sorted(gifs.keys() & captions.keys(), key=PARTS)
    return [Row(gifs[stem], captions[stem], stem.relative_to(folder).as_posix()) for stem in stems], problems


def copies_among(folder: Path, names: list[str]) -> dict[str, str]:
    """Name of each clip that ``prepare-data`` drew as a copy of another -> that one's; their own names say nothing."""
    found = {}
    for place in {name.rpartition("/")[0] for name in names}:
        above = f"{place}/" if place else ""
        found |= {above + copy: above + clip for copy, clip in copies_in(folder / place).items()}
    return found


def read_caption(path: Path) -> str:
    """The caption in a UTF-8 file, white space folded.

    Raises:
        DatasetError: unreadable, empty, too long, or not UTF-8.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe or a device may never end
            raise DatasetError(f"{path} is no plain file; wanted a text file")
        if found.st_size > MAX_CAPTION_BYTES:
            raise DatasetError(f"{path}: {found.st_size:,} bytes; wanted a caption of at most {MAX_CAPTION_BYTES:,}")
        text = " ".join(path.read_text(encoding="utf-8-sig").split())
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}; wanted a text file") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: byte {error.start} is not UTF-8; save the caption as UTF-8") from error
    if not text:
        raise DatasetError(f"{path}: empty caption; wanted the text of the sign")
    return text


def data_identity(data: TextToSignDataset, indices: list[int]) -> dict[str, int | str]:
    """What a checkpoint remembers of its training clips: how many, and a SHA-256 of their names and captions."""
    pairs = sorted((data.names[i], data.texts[i]) for i in indices)
    return {"num_clips": len(pairs), "digest": hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:16]}


def are_drawn(data: TextToSignDataset, indices: list[int]) -> bool:
    """Whether ``prepare-data`` drew all of these clips, so that none is a camera's."""
    folders = {(data.folder / data.names[i]).parent for i in indices}
    return all((folder / MANIFEST).is_file() for folder in folders)


def _decode(gif: Path, data: bytes, *, num_frames: int, image_size: int) -> np.ndarray:
    """The bytes of a GIF -> (num_frames, image_size, image_size, 3) uint8.

    Raises:
        VideoError: it cannot be decoded.
        DatasetError: it has one frame.
    """
    frames, _ = decode_gif(gif, data)
    if len(frames) < 2:
        raise DatasetError(f"{gif}: one frame; wanted a clip of at least 2")
    return fit_clip(frames, num_frames=num_frames, image_size=image_size)
