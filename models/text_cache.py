"""Encoded captions on disk, each in a small file of its own, so that no run encodes what another has encoded.

What is kept is found again by a key over everything that decides its bits; nothing is ever taken for something else.
A file is written whole or not at all and carries its own SHA-256: several processes may write at once, and what is
damaged is made anew. There is no index to lock, and nothing is rewritten when captions are added. The number of files
is bounded; what was used least recently goes first.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

FORMAT = "text2sign text 1"
MAX_FILES = 400  # in each of the 256 sub-folders, so about 100,000 captions; 1.2 GB at 8 tokens of 384 channels
DIGEST_BYTES = 32


class Encoded(NamedTuple):
    """A caption: ``tokens`` (L, E), their mean ``pooled`` (E,), both float32; ``length`` in tokens before any cut."""

    tokens: Tensor
    pooled: Tensor
    length: int


class EncoderFacts(NamedTuple):
    """What is asked of an encoder that need not be loaded: E, and the fingerprint that checkpoints remember."""

    width: int
    fingerprint: str


class TextCache:
    """What one encoder, known by its ``identity``, made of captions; below ``folder``, which encoders share.

    No error of the disk reaches the caller: what cannot be read is missing, what cannot be written is not kept, and
    one line on stderr says so.
    """

    def __init__(self, folder: Path, *, identity: str, max_length: int) -> None:
        """``max_length`` in tokens, where captions are cut."""
        self.folder, self.identity, self.max_length = folder, identity, max_length
        self._writes = True

    def facts(self) -> EncoderFacts | None:
        """Of the encoder; None if they are not known yet."""
        found = self._read(self._key("facts"))
        return None if found is None else EncoderFacts(found[0]["width"], found[0]["fingerprint"])

    def keep_facts(self, facts: EncoderFacts) -> None:
        self._write(self._key("facts"), facts._asdict(), b"")

    def caption(self, caption: str) -> Encoded | None:
        """As it was encoded, to the bit; None if it is not known yet."""
        found = self._read(self._key("caption", self.max_length, caption))
        if found is None:
            return None
        header, data = found
        rows = np.frombuffer(data, dtype="<f4").reshape(header["num_tokens"] + 1, -1).astype(np.float32)  # a copy
        tokens = torch.from_numpy(rows)
        return Encoded(tokens[:-1], tokens[-1], header["length"])

    def keep_caption(self, caption: str, one: Encoded) -> None:
        header = {"num_tokens": len(one.tokens), "length": one.length}
        rows = torch.cat([one.tokens, one.pooled[None]]).numpy().astype("<f4")
        self._write(self._key("caption", self.max_length, caption), header, rows.tobytes())

    def _key(self, *parts: str | int) -> str:
        return hashlib.sha256(json.dumps([FORMAT, self.identity, *parts]).encode()).hexdigest()

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key[2:]

    def _read(self, key: str) -> tuple[dict[str, Any], bytes] | None:
        """Header and data; None where there is no file, or not the one that was written."""
        path = self._path(key)
        try:
            whole = path.read_bytes()
        except OSError:
            return None
        digest, content = whole[:DIGEST_BYTES], whole[DIGEST_BYTES:]
        if digest != _digest(key, content):
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # used just now
        header, _, data = content.partition(b"\n")
        return json.loads(header), data

    def _write(self, key: str, header: dict[str, Any], data: bytes) -> None:
        if not self._writes:
            return
        content = json.dumps(header).encode() + b"\n" + data
        path = self._path(key)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _make_room(path.parent)
            temporary.write_bytes(_digest(key, content) + content)
            os.replace(temporary, path)  # one step: whole or not at all
        except OSError as error:
            self._writes = False
            print(f"note: encoded captions are not kept in {self.folder}: {error.strerror or error}", file=sys.stderr)
            with contextlib.suppress(OSError):
                temporary.unlink()


def _digest(key: str, content: bytes) -> bytes:
    """Over the key, too: a file under another's name is not taken for it."""
    return hashlib.sha256(key.encode() + content).digest()


def _make_room(folder: Path) -> None:
    """Remove the files used longest ago, so that one more is not too many; another process may be doing the same."""
    with os.scandir(folder) as entries:
        names = [entry.path for entry in entries]
    if len(names) < MAX_FILES:
        return
    for path in sorted(names, key=_last_use)[: len(names) - MAX_FILES + 1]:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _last_use(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:  # gone already
        return 0.0
