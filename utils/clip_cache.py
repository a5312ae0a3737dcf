"""Decoded clips and captions that outlive the process, so that a start opens no file of the data that has not changed.

Below CACHE_DIR stands a folder per data folder and size of clip. Its index has the size and time of every file of the
data and what was in it then, a caption or the SHA-256 of a clip; the pixels lie beside it, a file for each SHA-256 and
version of the code. So a file of the same size and time is not opened, one that moved or was touched is found by its
content, and only another is decoded. A change that keeps a file's size, and its time to the nanosecond, is found by
``verify`` alone, which reads everything. All may be deleted at any time, during a training too.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import PIL

from config import ConfigError
from utils import gif, video
from utils.store import Store

FORMAT = 4
SETTLED_NS = 2 * 10**9  # a file that was written later than this before it is read may change within its clock's tick
INDEX = hashlib.sha256(b"index").hexdigest()  # its key

Decode = Callable[[bytes], np.ndarray]

PREPROCESSING = hashlib.sha256("".join(map(inspect.getsource, (gif, video))).encode()).hexdigest()
"""Of the code that decodes, thins and crops. Taken when it is loaded, so that a later edit is not mistaken for it."""


class ClipCache:
    """What the files of a data folder hold; a context for the start, in which files are looked at.

    Without ``cache_dir``, or where it cannot be written, clips stay in memory.
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
        self._shape = (num_frames, image_size, image_size, 3)
        self._store: Store | None = None
        if cache_dir:
            self._store = Store(place_of(cache_dir, folder, num_frames=num_frames, image_size=image_size), what="clips")
        self._there = self._store.keys() - {INDEX} if self._store else set()
        found = self._store.get(INDEX) if self._store else None
        self._known = json.loads(found) if found else {}  # path in the data folder -> bytes, ns, what was in it
        self._seen: dict[str, list[Any]] = {}  # the same, of this start
        self._files: dict[str, tuple[Path, Decode]] = {}  # key -> where the clip can be had again
        self._in_memory: dict[str, bytes] = {}

    def caption(self, path: Path, read: Callable[[Path], str]) -> str:
        """``read(path)``, or what it gave for the file as it is now."""
        return self._recall(path, lambda: read(path), lambda _: True)

    def clip(self, path: Path, decode: Decode) -> str:
        """The key of the clip in a file, of whose bytes ``decode`` makes (F, S, S, 3) uint8.

        Raises:
            VideoError: the file cannot be read; and what ``decode`` raises.
        """
        digest = self._recall(path, lambda: self._fetch(path, decode)[0], lambda found: self._key(found) in self._there)
        key = self._key(digest)
        self._files[key] = path, decode
        return key

    def frames(self, key: str) -> np.ndarray:
        """(F, S, S, 3) uint8, read-only; read from the disk each time, from the clip's own file where it is lost.

        Raises:
            VideoError: it is lost, and the clip's file is not what it was.
        """
        value = self._in_memory.get(key) or (self._store.get(key) if self._store else None)
        if value is None:
            path, decode = self._files[key]
            digest, value = self._fetch(path, decode)
            if self._key(digest) != key:
                raise video.VideoError(f"{path} is another clip than when this run began. Begin the run again.")
        return np.frombuffer(value, np.uint8).reshape(self._shape)

    # ---- One file ---------------------------------------------------------------------------------------------------

    def _recall(self, path: Path, read: Callable[[], Any], usable: Callable[[Any], bool]) -> Any:
        try:
            found = path.stat()
        except OSError:
            return read()  # which says what is wrong
        name, stamp = path.relative_to(self._root).as_posix(), [found.st_size, found.st_mtime_ns]
        settled = time.time_ns() - found.st_mtime_ns > SETTLED_NS
        *known, content = self._known.get(name, [None])
        if self._verify or known != stamp or not usable(content):
            content = read()
        if settled:
            self._seen[name] = [*stamp, content]
        return content

    def _fetch(self, path: Path, decode: Decode) -> tuple[str, bytes]:
        """SHA-256 of the file, and the pixels of its clip as they are kept from now on."""
        data = gif.read_bytes(path)
        digest = hashlib.sha256(data).hexdigest()
        key = self._key(digest)
        value = self._in_memory.get(key) or (self._store.get(key) if self._store else None)
        if value is None:
            value = decode(data).tobytes()
            if self._store is None or not self._store.put(key, value):
                self._in_memory[key] = value
        self._there.add(key)
        return digest, value

    def _key(self, digest: str) -> str:
        """Of a file's content and of all else that decides its pixels; a pure function of both."""
        made_by = [FORMAT, self._shape, PREPROCESSING, PIL.__version__]
        return hashlib.sha256(f"{digest} {made_by}".encode()).hexdigest()

    # ---- The start's end, and the index -----------------------------------------------------------------------------

    def __enter__(self) -> ClipCache:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Other files than those seen are not there any more, if all were looked at; their pixels go."""
        if self._store is None:
            return
        known = self._seen if kind is None else {**self._known, **self._seen}
        if known != self._known:
            self._store.put(INDEX, json.dumps(known).encode())
        if kind is None:
            self._store.drop(self._there - self._files.keys())


def place_of(cache_dir: str | Path, folder: Path, *, num_frames: int, image_size: int) -> Path:
    """The folder below ``cache_dir`` for the clips of ``folder`` at one size."""
    data = Path(folder).resolve()
    name = f"{data.name[:40]}-{hashlib.sha256(os.fsencode(data)).hexdigest()[:12]}-{num_frames}x{image_size}"
    return Path(cache_dir) / "clips" / name
