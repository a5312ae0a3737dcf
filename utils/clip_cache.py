"""Decoded clips and captions that outlive the process, so that a start opens no file of the data that has not changed.

Below CACHE_DIR stands a folder per data folder and size of clip: files of pixels, which are mapped, and an index. It
has the size and time of every file of the data and what was in it then, a caption or the SHA-256 of a clip; and where
the pixels of each SHA-256 lie. So a file of the same size and time is not opened, one that moved or was touched is
found by its content, and only another is decoded. What else decides the pixels stands there too; another, and all is.
A change that keeps a file's size, and its time to the nanosecond, is found by ``verify`` alone, which reads everything.

There is no lock: each process appends to a file of its own, and puts a whole index in the place of the old one. Of two
that start together the later index stands, and the worst is that clips are decoded twice. All may be deleted any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import PIL
from tqdm import tqdm

from config import ConfigError
from utils import gif, video
from utils.files import replacing
from utils.pixel_file import SUFFIX, Pixels, PixelWriter, open_pixels
from utils.processes import world

FORMAT = 2
INDEX = "index.json"
SAVE_SECONDS = 60.0  # between two writes of the index while clips are decoded: what a kill can lose
SETTLED_NS = 2 * 10**9  # a file that was written later than this before it is read may change within its clock's tick
UNUSED_SECONDS = 3600.0  # after which a file of pixels that the index does not name is nobody's
MAX_FILES = 16  # of pixels, before they become one


PREPROCESSING = hashlib.sha256("".join(map(inspect.getsource, (gif, video))).encode()).hexdigest()
"""Of the code that decodes, thins and crops. Taken when it is loaded, so that a later edit is not mistaken for it."""


class Place(NamedTuple):
    """Where the pixels of a clip lie ("" for memory), their CRC-32, and how many frames its file has."""

    file: str
    row: int
    checksum: int
    num_source: int


class ClipCache:
    """What the files of a data folder hold; a context, which ends the writing. ``frames`` is for afterwards.

    Without ``cache_dir``, or where it cannot be written, clips stay in memory. Leaving the context raises ConfigError
    where what was written cannot be mapped.
    """

    def __init__(
        self, cache_dir: str | Path, folder: Path, *, num_frames: int, image_size: int, verify: bool = False
    ) -> None:
        """Look at what is there; nothing is made yet. ``verify``: trust no file's size and time.

        Raises:
            ConfigError: ``cache_dir`` is a file.
        """
        if cache_dir and Path(cache_dir).exists() and not Path(cache_dir).is_dir():
            raise ConfigError(
                f"CACHE_DIR={cache_dir} is a file; wanted a folder, which will be made: --set CACHE_DIR=FOLDER, "
                "or none: --set CACHE_DIR="
            )
        self._root, self._verify = Path(folder), verify
        self._place = place_of(cache_dir, folder, num_frames=num_frames, image_size=image_size) if cache_dir else None
        self._shape = (num_frames, image_size, image_size, 3)
        self._pixels: dict[str, Pixels] = {}  # by the name of their file
        self._own: PixelWriter | None = None  # what this process adds, until the context ends
        self._in_memory: dict[str, np.ndarray] = {}
        self._clips: dict[str, Place] = {}
        self._seen: dict[str, list[Any]] = {}  # path in the data folder -> bytes, ns, content: of this start
        self._needed: set[str] = set()  # keys of clips, of this start
        self._is_refused = self._place is None
        self._index = self._read_index()
        self._saved = time.monotonic()
        self._open()

    # ---- What the data folder holds ---------------------------------------------------------------------------------

    def caption(self, path: Path, read: Callable[[Path], str]) -> str:
        """``read(path)``, or what it gave for the file as it is now."""
        return self._recall(path, lambda: read(path), lambda _: True)

    def clip(self, path: Path, decode: Callable[[bytes], tuple[np.ndarray, int]]) -> str:
        """The key of the clip in a file. ``decode`` makes (F, S, S, 3) uint8 of its bytes, and counts its frames.

        Raises:
            VideoError: the file cannot be read; and what ``decode`` raises.
        """
        key = self._recall(path, lambda: self._read(path, decode), self._clips.__contains__)
        self._needed.add(key)
        return key

    def num_source(self, key: str) -> int:
        """How many frames the clip's file has."""
        return self._clips[key].num_source

    def frames(self, key: str) -> np.ndarray:
        """(F, S, S, 3) uint8; where it is mapped, read only when it is used."""
        place = self._clips[key]
        return self._pixels[place.file].rows[place.row] if place.file else self._in_memory[key]

    def _recall(self, path: Path, read: Callable[[], str], usable: Callable[[str], bool]) -> str:
        try:
            found = path.stat()
        except OSError:
            return read()  # which says what is wrong
        name, stamp = path.relative_to(self._root).as_posix(), [found.st_size, found.st_mtime_ns]
        settled = time.time_ns() - found.st_mtime_ns > SETTLED_NS
        *known, content = self._index["files"].get(name, [""])
        if self._verify or known != stamp or not usable(content):
            content = read()
        if settled:
            self._seen[name] = [*stamp, content]
        return content

    def _read(self, path: Path, decode: Callable[[bytes], tuple[np.ndarray, int]]) -> str:
        data = gif.read_bytes(path)
        key = hashlib.sha256(data).hexdigest()
        if key not in self._clips:
            self._add(key, *decode(data))
        return key

    # ---- Pixels -----------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Map what the index names. Where a file is not as it was left, or all is to be verified, checksums decide."""
        doubtful = set()
        for name, stamp in self._index["pixels"].items():
            with contextlib.suppress(OSError):
                self._pixels[name] = open_pixels(self._place / name, self._shape)
                if self._verify or self._pixels[name].stamp != stamp:
                    doubtful.add(name)
        for key, values in self._index["clips"].items():
            place = Place(*values)
            if place.file in self._pixels and (place.file not in doubtful or self._is_whole(place)):
                self._clips[key] = place

    def _is_whole(self, place: Place) -> bool:
        rows = self._pixels[place.file].rows
        return place.row < len(rows) and zlib.crc32(rows[place.row]) == place.checksum

    def _add(self, key: str, frames: np.ndarray, num_source: int) -> None:
        """Keep a clip in this process's own file, or in memory where none can be written."""
        if not self._is_refused:
            try:
                self._own = self._own or PixelWriter(self._place)
                self._clips[key] = Place(self._own.name, self._own.append(frames), zlib.crc32(frames), num_source)
                if time.monotonic() - self._saved > SAVE_SECONDS:
                    self._save(complete=False)
            except OSError as error:
                self._refuse(error)
        if key not in self._clips:
            self._in_memory[key] = frames
            self._clips[key] = Place("", 0, 0, num_source)

    def _refuse(self, error: OSError) -> None:
        """Tell, once, that the disk takes no more."""
        if not self._is_refused and world().is_first:
            tqdm.write(
                f"note: {self._place} cannot keep all that was read ({error.strerror or error}); every start will read "
                "the rest anew. Name another folder: --set CACHE_DIR=FOLDER",
                file=sys.stderr,
            )
        self._is_refused = True

    # ---- The end of a start -----------------------------------------------------------------------------------------

    def __enter__(self) -> ClipCache:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._place is None:
            return
        if self._own is not None:
            own, self._own = self._own, None
            try:
                self._pixels[own.name] = own.finish(self._shape)
            except OSError as refusal:
                raise ConfigError(
                    f"{self._place} is on a disk that maps no files ({refusal.strerror}). "
                    "Name another folder: --set CACHE_DIR=FOLDER, or none: --set CACHE_DIR="
                ) from refusal
        try:
            if kind is None and not self._in_memory:
                self._join()
            self._save(complete=kind is None)
        except OSError as refusal:
            self._refuse(refusal)
        with contextlib.suppress(OSError):  # mapped by another process, which Windows does not allow to delete
            self._sweep()

    def _join(self) -> None:
        """Write the pixels anew, as one file of what is needed, where they lie in many or most are not needed."""
        num_rows = sum(len(pixels.rows) for pixels in self._pixels.values())
        if len(self._pixels) <= MAX_FILES and num_rows <= 2 * len(self._needed):
            return
        own, clips = PixelWriter(self._place), {}
        for key in sorted(self._needed):
            clips[key] = self._clips[key]._replace(file=own.name, row=own.append(self.frames(key)))
        self._clips, self._pixels = clips, {own.name: own.finish(self._shape)}

    # ---- The index --------------------------------------------------------------------------------------------------

    def _read_index(self) -> dict[str, Any]:
        """The index; an empty one where there is none, a damaged one, or one that other code made."""
        empty = {"made_by": _made_by(self._shape), "files": {}, "pixels": {}, "clips": {}}
        if self._place is None:
            return empty
        try:
            digest, _, text = (self._place / INDEX).read_text(encoding="ascii").partition("\n")
        except (OSError, UnicodeDecodeError):
            return empty
        index = json.loads(text) if digest == _digest(text) else empty
        return index if index["made_by"] == empty["made_by"] else empty

    def _save(self, *, complete: bool) -> None:
        """Put what is known now in the place of the index. ``complete``: other files than those seen are not there."""
        own = {} if self._own is None else {self._own.name: self._own.stamp}
        index = {
            "made_by": _made_by(self._shape),
            "files": self._seen if complete else {**self._index["files"], **self._seen},
            "pixels": {name: found.stamp for name, found in self._pixels.items()} | own,
            "clips": {key: list(place) for key, place in self._clips.items() if place.file},
        }
        if index != self._index:
            text = json.dumps(index)
            with replacing(self._place / INDEX, durable=False) as partial:
                partial.write_text(f"{_digest(text)}\n{text}", encoding="ascii")
        self._index, self._saved = index, time.monotonic()

    def _sweep(self) -> None:
        """Delete files of pixels that no index names."""
        for path in self._place.glob(f"*{SUFFIX}"):
            if path.name not in self._index["pixels"] and time.time() - path.stat().st_mtime > UNUSED_SECONDS:
                path.unlink()


def place_of(cache_dir: str | Path, folder: Path, *, num_frames: int, image_size: int) -> Path:
    """The folder below ``cache_dir`` for the clips of ``folder`` at one size."""
    data = Path(folder).resolve()
    name = f"{data.name[:40]}-{hashlib.sha256(os.fsencode(data)).hexdigest()[:12]}-{num_frames}x{image_size}"
    return Path(cache_dir) / "clips" / name


def _made_by(shape: tuple[int, ...]) -> dict[str, object]:
    """What decides the pixels beside the bytes of a file."""
    return {"format": FORMAT, "shape": list(shape), "code": PREPROCESSING, "decoder": f"Pillow {PIL.__version__}"}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
