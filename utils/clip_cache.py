"""Decoded clips that outlive the process: one memory-mapped file per data folder and size of clip, below CACHE_DIR.

A clip is found by the SHA-256 of its GIF's bytes, all of which are read at every start: a file's size and time do not
tell whether it has changed. What else decides the pixels stands in the head of the file; another head, and all is
decoded anew. Captions are never kept.

Clips are appended as records of equal length. Each carries a checksum, compared before the clip is used, so a record is
whole or it is not there, at whatever moment a process is killed or a disk fills up: there is no index to disagree with
and nothing to flush. One process at a time writes, the others wait and find its clips. A record that the folder does
not need any more is dead; where more than half are, the file is written anew. It may be deleted at any time.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import sys
import zlib
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import PIL
from tqdm import tqdm

from config import ConfigError
from utils import gif as gif_blocks
from utils import video
from utils.processes import world

FORMAT = 1
HEAD_BYTES = 512
CHECKSUM_BYTES = 4


def digest_of_files(paths: list[str]) -> str:
    """SHA-256 over the bytes of files, shortened to 16 digits."""
    return hashlib.sha256(b"".join(Path(path).read_bytes() for path in paths)).hexdigest()[:16]


PREPROCESSING = digest_of_files([str(gif_blocks.__file__), str(video.__file__)])
"""Of the code that decodes, thins and crops. Taken when it is loaded, so that a later edit is not mistaken for it."""


class ClipCache:
    """Clips (F, S, S, 3) uint8 of a data folder by the SHA-256 of their files; a context, which ends the writing.

    Without ``cache_dir``, or where it cannot be written, they stay in memory. After the context ``frames`` goes on.
    """

    def __init__(self, cache_dir: str | Path, folder: Path, *, num_frames: int, image_size: int) -> None:
        """Look at what is there; nothing is made yet.

        Raises:
            ConfigError: ``cache_dir`` is a file.
        """
        shape = (num_frames, image_size, image_size, 3)
        self._type = np.dtype([("checksum", "<u4"), ("num_source", "<u4"), ("key", "u1", 32), ("frames", "u1", shape)])
        self._path = path_of(cache_dir, folder, num_frames=num_frames, image_size=image_size) if cache_dir else None
        self._head = _head(num_frames, image_size)
        self._records: dict[bytes, np.ndarray] = {}  # each (1,) of ``_type``, mapped or in memory
        self._needed: set[bytes] = set()  # keys that were asked for and found, or added
        self._added: list[bytes] = []  # keys that went into the file
        self._num_stored = 0  # records in the file
        self._is_ours = False  # the file's head is that of these clips
        self._lock: BinaryIO | None = None
        self._file: BinaryIO | None = None  # open for appending
        self._begun = self._path is None
        self._refusal: OSError | None = None
        if self._path is None:
            return
        if Path(cache_dir).exists() and not Path(cache_dir).is_dir():
            raise ConfigError(
                f"CACHE_DIR={cache_dir} is a file; wanted a folder, which will be made: --set CACHE_DIR=FOLDER, "
                "or none: --set CACHE_DIR="
            )
        try:
            self._records = self._stored()
        except OSError as error:
            self._refusal = error

    def find(self, key: bytes) -> int | None:
        """The number of frames that the clip's file has, if the clip is kept.

        The first that is not makes this process the one that writes; it waits for another that is.
        """
        if not self._is_whole(key):
            self._begin()
            if not self._is_whole(key):
                return None
        self._needed.add(key)
        return int(self._records[key]["num_source"][0])

    def add(self, key: bytes, frames: np.ndarray, *, num_source: int) -> None:
        """Keep ``frames`` of a file with ``num_source`` of them; ``find`` has said before that they are not kept."""
        record = np.zeros(1, dtype=self._type)
        record["num_source"], record["key"], record["frames"] = num_source, np.frombuffer(key, np.uint8), frames
        record["checksum"] = _checksum(record)
        self._records[key] = record
        self._needed.add(key)
        if self._file is not None:
            try:
                _write(self._file, record.tobytes())
                self._added.append(key)
            except OSError as error:
                self._refusal = error
                self._end_writing()
        if self._refusal is not None:
            self._tell()

    def frames(self, key: bytes) -> np.ndarray:
        """(F, S, S, 3) uint8 of a key that was found or added; read only where it lies in the file."""
        return self._records[key]["frames"][0]

    def __enter__(self) -> ClipCache:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if self._file is not None:
                self._map_added()
            if kind is None and self._num_stored > 2 * len(self._needed):  # else not all were asked for
                self._drop_dead()
        except OSError:
            pass  # what is in memory is whole, and the next start looks again
        finally:
            self._end_writing()

    # ---- the file ---------------------------------------------------------------------------------------------------

    def _stored(self) -> dict[bytes, np.ndarray]:
        """Key -> record of everything in the file, unchecked; of two with one key the later."""
        self._is_ours, self._num_stored = False, 0
        try:
            file = open(self._path, "rb")
        except FileNotFoundError:
            return {}
        with file:
            self._is_ours = file.read(HEAD_BYTES) == self._head
            if not self._is_ours:
                return {}
            self._num_stored = (os.fstat(file.fileno()).st_size - HEAD_BYTES) // self._type.itemsize
            if not self._num_stored:
                return {}
            mapped = np.memmap(file, dtype=self._type, mode="r", offset=HEAD_BYTES, shape=(self._num_stored,))
        records = np.asarray(mapped)  # slices of a plain array are quicker than those of a memmap
        keys = records["key"].tobytes()
        return {keys[32 * i : 32 * (i + 1)]: records[i : i + 1] for i in range(len(records))}

    def _is_whole(self, key: bytes) -> bool:
        """Whether there is a record of the clip that its checksum vouches for; a damaged one is forgotten."""
        record = self._records.get(key)
        if record is None:
            return False
        if key not in self._needed and int(record["checksum"][0]) != _checksum(record):
            del self._records[key]
            return False
        return True

    def _begin(self) -> None:
        """Become the one that writes, and learn what others have written meanwhile; once, and a refusal is kept."""
        if self._begun:
            return
        self._begun = True
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _take(self._path, wait=True)
            self._records = {**self._stored(), **{key: self._records[key] for key in self._needed}}
            if not self._is_ours:
                self._replace([])
            self._file = open(self._path, "r+b", buffering=0)
            self._file.truncate(HEAD_BYTES + self._num_stored * self._type.itemsize)  # less what a kill cut short
            self._file.seek(0, os.SEEK_END)
            self._refusal = None
        except OSError as error:
            self._refusal = error
            self._end_writing()

    def _map_added(self) -> None:
        """Let go of the memory of what went into the file, where it reads back whole."""
        stored = self._stored()
        for key in self._added:
            record = stored.get(key)
            if record is not None and int(record["checksum"][0]) == _checksum(record):
                self._records[key] = record

    def _drop_dead(self) -> None:
        """Write the file anew with the needed records alone, unless another process is writing."""
        if self._lock is None:
            self._lock = _take(self._path, wait=False)
        if self._lock is not None and self._is_ours:
            self._replace([record for key, record in self._records.items() if key in self._needed])

    def _replace(self, records: list[np.ndarray]) -> None:
        """Under the lock: another file in place of this one, whole. Who has mapped the old one keeps it."""
        partial = self._path.with_suffix(".partial")
        try:
            with open(partial, "wb", buffering=0) as file:
                _write(file, self._head)
                for record in records:
                    _write(file, record.tobytes())
            os.replace(partial, self._path)
        finally:
            partial.unlink(missing_ok=True)
        self._is_ours, self._num_stored = True, len(records)

    def _end_writing(self) -> None:
        for file in (self._file, self._lock):
            if file is not None:
                file.close()
        self._file = self._lock = None

    def _tell(self) -> None:
        """Once, that the disk refuses."""
        reason, self._refusal = self._refusal.strerror or str(self._refusal), None
        _say(
            f"note: {self._path} cannot take all decoded clips ({reason}); every start will decode the others. "
            "Name another folder: --set CACHE_DIR=FOLDER"
        )


def path_of(cache_dir: str | Path, folder: Path, *, num_frames: int, image_size: int) -> Path:
    """The file below ``cache_dir`` for the clips of ``folder`` at one size."""
    place = Path(folder).resolve()
    digest = hashlib.sha256(os.fsencode(place)).hexdigest()[:12]
    return Path(cache_dir) / "clips" / f"{place.name[:40]}-{digest}-{num_frames}x{image_size}.clips"


def _head(num_frames: int, image_size: int) -> bytes:
    """What decides the pixels beside the bytes of a GIF, as JSON, filled up with spaces."""
    facts = {"format": FORMAT, "num_frames": num_frames, "image_size": image_size}
    code = {"preprocessing": PREPROCESSING, "decoder": f"Pillow {PIL.__version__}"}
    return json.dumps({"text2sign": "clips", **facts, **code}).encode().ljust(HEAD_BYTES - 1) + b"\n"


def _checksum(record: np.ndarray) -> int:
    """CRC-32 of all of a record but the checksum itself; a flipped byte never escapes it."""
    return zlib.crc32(record.view(np.uint8)[CHECKSUM_BYTES:])


def _write(file: BinaryIO, data: bytes) -> None:
    """Raises:
    OSError: not all of it could be written.
    """
    if file.write(data) != len(data):  # a full disk takes part of it, and refuses only what comes after
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _take(path: Path, *, wait: bool) -> BinaryIO | None:
    """The lock on ``path``, which a process loses however it ends; None if another holds it and we do not wait."""
    lock = open(path.with_suffix(".lock"), "ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            lock.close()
            return None
        _say(f"note: another process is decoding clips into {path}; waiting for it (Ctrl-C stops)")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _say(note: str) -> None:
    if world().is_first:
        tqdm.write(note, file=sys.stderr)
