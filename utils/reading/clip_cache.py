"""Decoded clips that outlive the process, so that a start opens no file of the data that has not changed.

Below CACHE_DIR stands a folder per data folder and size of clip. Its index has the size and time of every file of the
data and what was in it then, a caption or the SHA-256 of a clip; the pixels lie beside it, a file for each SHA-256,
window and version of the code. So a file of the same size and time is not opened, one that moved or was touched is
found by its content, and only another is decoded. A change that keeps a file's size, and its time to the nanosecond, is
found by ``verify`` alone, which reads everything. All may be deleted at any time, during a training too.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import json
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import PIL
from tqdm import tqdm

from config import ConfigError
from utils import gif, video
from utils.layouts.listing import Row
from utils.reading import clip, container, reader, stills, timeline
from utils.reading.reader import Facts, read_clip
from utils.store import Store
from utils.video import VideoError

FORMAT = 5
SETTLED_NS = 2 * 10**9  # a file that was written later than this before it is read may change within its clock's tick
INDEX = hashlib.sha256(f"index {FORMAT}".encode()).hexdigest()  # its key
BLOCK = 2**20  # bytes of a file that are in memory at a time
LENGTH_BYTES = 4  # behind a value, of the facts before it

_MODULES = (gif, video, clip, container, reader, stills, timeline)
PREPROCESSING = hashlib.sha256("".join(map(inspect.getsource, _MODULES)).encode()).hexdigest()
"""Of the code that decodes, thins and crops. Taken when it is loaded, so that a later edit is not mistaken for it."""


class Clip(NamedTuple):
    """A clip that is kept: its key, and what is known of it beside its pixels."""

    key: str
    facts: Facts


class ClipCache:
    """What the files of a data folder hold; a context for the start, in which files are looked at.

    Without ``cache_dir``, or where it cannot be written, clips stay in memory.
    """

    def __init__(
        self,
        cache_dir: str | Path,
        folder: Path,
        *,
        num_frames: int,
        image_size: int,
        rate: float | None = None,
        verify: bool = False,
    ) -> None:
        """Look at what is there; nothing is made yet. ``rate``: frames per second of whole clips, None: ``num_frames``
        over each. ``verify``: trust no file's size and time.

        Raises:
            ConfigError: ``cache_dir`` is a file.
        """
        if cache_dir and Path(cache_dir).exists() and not Path(cache_dir).is_dir():
            raise ConfigError(
                f"CACHE_DIR={cache_dir} is a file; wanted a folder, which will be made: --set CACHE_DIR=FOLDER, "
                "or none: --set CACHE_DIR="
            )
        self._root, self._verify = Path(folder), verify
        self._size = {"num_frames": num_frames, "image_size": image_size, "rate": rate, "whole": rate is not None}
        self._made_by = [FORMAT, self._size, PREPROCESSING, PIL.__version__, importlib.metadata.version("av")]
        self._store: Store | None = None
        if cache_dir:
            form = f"{num_frames}x{image_size}" + (f"@{rate:g}" if rate else "")
            self._store = Store(place_of(cache_dir, folder, form=form), what="clips")
        self._there = self._store.keys() - {INDEX} if self._store else set()
        found = self._store.get(INDEX) if self._store else None
        empty: dict[str, dict[str, Any]] = {"files": {}, "clips": {}}
        self._known = json.loads(found) if found else empty  # name -> stamp and content; key -> facts
        self._seen: dict[str, dict[str, Any]] = {"files": {}, "clips": {}}  # the same, of this start
        self._rows: dict[str, Row] = {}  # key -> where the clip can be had again
        self._in_memory: dict[str, bytes] = {}
        self._writing = threading.Lock()

    def recall(self, path: Path, read: Callable[[], Any]) -> Any:
        """``read()``, or what it gave for the file as it is now; plain JSON types."""
        stamp = stamp_of(path)
        content = self._recall(path, stamp)
        return content if content is not None else self._remember(path, stamp, read())

    def clips(self, rows: Sequence[Row]) -> list[Clip | VideoError]:
        """Of each row its clip, or why there is none; those that are not known are read, a file on each core."""
        stamps = {path: stamp_of(path) for path in dict.fromkeys(row.path for row in rows)}
        found: list[Clip | VideoError | None] = [self._known_clip(row, stamps[row.path]) for row in rows]
        files: dict[Path, list[int]] = {}
        for index, row in enumerate(rows):
            if found[index] is None:
                files.setdefault(row.path, []).append(index)
        for index, read in self._read_files(rows, list(files.values())):
            found[index] = read
        return found

    def frames(self, key: str) -> np.ndarray:
        """(F, S, S, 3) uint8, read-only, at a rate the whole clip; read from the disk each time, from the clip's own
        file where it is lost.

        Raises:
            VideoError: it is lost, and the clip's file is not what it was.
        """
        value = self._value(key)
        if value is None:
            row = self._rows[key]
            if self._key(row, digest_of(row.path)) != key:
                raise VideoError(f"{row.path} is another clip than when this run began. Begin the run again.")
            self._read(row, key)
            value = self._value(key)
        side = self._size["image_size"]
        pixels = len(value) - LENGTH_BYTES - int.from_bytes(value[-LENGTH_BYTES:], "big")
        return np.frombuffer(value, np.uint8, count=pixels).reshape(-1, side, side, 3)

    # ---- Files ------------------------------------------------------------------------------------------------------

    def _recall(self, path: Path, stamp: list[int | str] | None) -> Any:
        """What was in the file when it was as it is now; None where that is not known."""
        *known, content = self._known["files"].get(self._name(path), [None])
        if self._verify or stamp is None or known != stamp:
            return None
        return self._remember(path, stamp, content)

    def _remember(self, path: Path, stamp: list[int | str] | None, content: Any) -> Any:
        if stamp and time.time_ns() - stamp[1] > SETTLED_NS:
            self._seen["files"][self._name(path)] = [*stamp, content]
        return content

    def _name(self, path: Path) -> str:
        """In the data folder, where it lies in it, so that it may be called by another way."""
        return path.as_posix().removeprefix(f"{self._root.as_posix()}/")

    # ---- Clips ------------------------------------------------------------------------------------------------------

    def _known_clip(self, row: Row, stamp: list[int | str] | None) -> Clip | None:
        """Without opening any file."""
        digest = self._recall(row.path, stamp)
        return self._kept(row, self._key(row, digest)) if digest else None

    def _kept(self, row: Row, key: str) -> Clip | None:
        """The clip of this key, if it is kept; what the index has lost of it is read from its own file."""
        if key not in self._there:
            return None
        facts = self._known["clips"].get(key)
        if facts is None or self._verify:
            value = self._value(key)
            if value is None:
                return None
            facts = json.loads(value[-LENGTH_BYTES - int.from_bytes(value[-LENGTH_BYTES:], "big") : -LENGTH_BYTES])
        return self._clip(row, key, facts)

    def _clip(self, row: Row, key: str, facts: Sequence[Any]) -> Clip:
        self._rows[key], self._seen["clips"][key] = row, list(facts)
        return Clip(key, Facts(*facts))

    def _read_files(self, rows: Sequence[Row], files: list[list[int]]) -> Iterator[tuple[int, Clip | VideoError]]:
        """Of the ``rows`` of each file, given by their indices, the clips; by a thread a core, since decoders let go of
        Python's lock."""
        bar = tqdm(total=sum(map(len, files)), desc="reading clips", unit="clip", delay=1, leave=False)
        with bar, ThreadPoolExecutor(os.cpu_count()) as pool:
            try:
                for indices, clips in zip(
                    files, pool.map(lambda indices: self._read_file([rows[i] for i in indices]), files), strict=True
                ):
                    yield from zip(indices, clips, strict=True)
                    bar.update(len(indices))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _read_file(self, rows: list[Row]) -> list[Clip | VideoError]:
        """The clips of rows of one file, which is read once for its content and once for each clip."""
        path, clips = rows[0].path, []
        try:
            stamp = stamp_of(path)
            digest = digest_of(path)
            for row in rows:
                key = self._key(row, digest)
                try:
                    clips.append(self._kept(row, key) or self._read(row, key))
                except VideoError as error:
                    clips.append(error)
            if stamp_of(path) != stamp:
                raise VideoError(f"{path} was written to while it was read; begin again when it is whole")
        except VideoError as error:
            return [error] * len(rows)
        self._remember(path, stamp, digest)
        return clips

    def _read(self, row: Row, key: str) -> Clip:
        found = read_clip(row, **self._size)
        remarks = [remark.removeprefix(f"{row.path}: ") for remark in found.facts.remarks]  # of any file with its bytes
        facts = json.dumps(found.facts._replace(remarks=remarks)).encode()
        value = found.frames.tobytes() + facts + len(facts).to_bytes(LENGTH_BYTES, "big")
        with self._writing:  # a file's name while it is written is one for all threads
            if self._store is None or not self._store.put(key, value):
                self._in_memory[key] = value
            self._there.add(key)
        return self._clip(row, key, json.loads(facts))

    def _value(self, key: str) -> bytes | None:
        return self._in_memory.get(key) or (self._store.get(key) if self._store else None)

    def _key(self, row: Row, digest: str) -> str:
        """Of a file's content and of all else that decides a clip's pixels; a pure function of both."""
        how = [row.start, row.end, row.frames_per_second, row.stretch, row.path.suffix.lower()]
        return hashlib.sha256(f"{digest} {how} {self._made_by}".encode()).hexdigest()

    # ---- The start's end, and the index -----------------------------------------------------------------------------

    def __enter__(self) -> ClipCache:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Other files than those seen are not there any more, if all were looked at; their pixels go."""
        if self._store is None:
            return
        known = self._seen if kind is None else {part: {**self._known[part], **self._seen[part]} for part in self._seen}
        if known != self._known:
            self._store.put(INDEX, json.dumps(known).encode())
        if kind is None:
            self._store.drop(self._there - self._rows.keys())


def stamp_of(path: Path) -> list[int | str] | None:
    """Bytes and ns of a file's last change; of a folder's files all bytes, the newest change, and a digest of each
    one's name, bytes and change.

    None where it cannot be looked at.
    """
    try:
        found = path.stat()
        if not stat.S_ISDIR(found.st_mode):
            return [found.st_size, found.st_mtime_ns]
        files = sorted((entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in os.scandir(path))
    except OSError:
        return None
    digest = hashlib.sha256(repr(files).encode()).hexdigest()
    return [sum(size for _, size, _ in files), max((changed for *_, changed in files), default=0), digest]


def digest_of(path: Path) -> str:
    """SHA-256 of a file's content, or of the names and contents of a folder's files; a block at a time.

    Raises:
        VideoError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for name, file in _files_of(path):
            digest.update(name)
            with open(file, "rb") as content:
                while block := content.read(BLOCK):
                    digest.update(block)
    except OSError as error:
        raise VideoError(f"{path} cannot be read: {error.strerror or error}; wanted a clip") from error
    return digest.hexdigest()


def _files_of(path: Path) -> Iterator[tuple[bytes, Path]]:
    """A file, whose name does not matter, or all in a folder, where they do."""
    if not path.is_dir():
        yield b"", path
        return
    for file in sorted(file for file in path.iterdir() if file.is_file()):
        yield f"\0{file.name}\0{file.stat().st_size}\0".encode(errors="surrogateescape"), file


def place_of(cache_dir: str | Path, folder: Path, *, form: str) -> Path:
    """The folder below ``cache_dir`` for the clips of ``folder`` in one form."""
    data = Path(folder).resolve()
    name = f"{data.name[:40]}-{hashlib.sha256(os.fsencode(data)).hexdigest()[:12]}-{form}"
    return Path(cache_dir) / "clips" / name
