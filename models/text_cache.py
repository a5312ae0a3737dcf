"""Encoded captions on disk, so that no run encodes what another has encoded: a few safetensors files for an encoder.

A file is never changed. What is new goes into another one, together with the content of those of its size or smaller,
which then go: each is more than twice the next, so they are few, a caption is rewritten seldom, and several processes
may write at once. The name and the content of a file say what it belongs to, and every caption has its digest: nothing
is taken for something else, and what is damaged is made anew. Captions are read one by one, so that the files may be
larger than memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from utils.files import FileError, write_file

FORMAT = "text2sign text 2"
FULL_BYTES = 64 * 2**20  # a file of this size is left as it is


class Encoded(NamedTuple):
    """A caption: ``tokens`` (L, E), their mean ``pooled`` (E,), both float32; ``length`` in tokens before any cut."""

    tokens: Tensor
    pooled: Tensor
    length: int

    @property
    def num_bytes(self) -> int:
        return self.tokens.nbytes + self.pooled.nbytes


class EncoderFacts(NamedTuple):
    """What is asked of an encoder that need not be loaded: E, and the fingerprint that checkpoints remember."""

    width: int
    fingerprint: str


class TextCache:
    """What one encoder, known by its ``identity``, made of captions; in ``folder``, which encoders share.

    No error of the disk reaches the caller: what cannot be read is missing, what cannot be written is not kept, and
    one line on stderr says so.
    """

    def __init__(self, folder: Path, *, identity: str, max_length: int) -> None:
        """``max_length`` in tokens, where captions are cut."""
        self.folder, self.identity = folder, identity
        self._key = hashlib.sha256(json.dumps([FORMAT, identity, max_length]).encode()).hexdigest()
        self._writes = True
        self._open: dict[Path, _File] = {}
        self._look()

    def facts(self) -> EncoderFacts | None:
        """Of the encoder; None if no caption of it is known yet."""
        return next((file.facts for file in self._open.values()), None)

    def caption(self, caption: str) -> Encoded | None:
        """As it was encoded, to the bit; None if it is not known yet."""
        return next((one for file in self._open.values() if (one := file.read(caption))), None)

    def keep(self, captions: dict[str, Encoded], facts: EncoderFacts) -> None:
        """Add what the encoder of these ``facts`` made of ``captions``."""
        if not self._writes or not captions:
            return
        self._look()
        new, merged = dict(captions), set()
        size = sum(one.num_bytes for one in captions.values())
        for path, file in sorted(self._open.items(), key=lambda item: item[1].num_bytes):
            if file.num_bytes <= 2 * size and max(file.num_bytes, size) < FULL_BYTES:
                new = {caption: one for caption in file.index if (one := file.read(caption))} | new
                size += file.num_bytes
                merged.add(path)
        try:
            path = self._write(new, facts)
        except FileError as error:
            self._writes = False
            print(f"note: encoded captions are not kept: {error}", file=sys.stderr)
            return
        for old in merged | {path}:
            self._open.pop(old, None)
            if old != path:
                with contextlib.suppress(OSError):  # another process merged it; or Windows, where one reads it
                    old.unlink()
        self._look()

    def _look(self) -> None:
        """Open the files that are there by now."""
        for path in sorted(self.folder.glob(f"{self._key[:32]}-*.safetensors")):
            if path not in self._open and (file := _open(path, self._key)):
                self._open[path] = file

    def _write(self, captions: dict[str, Encoded], facts: EncoderFacts) -> Path:
        """One file, named by its content, so that whoever writes the same replaces it by the same."""
        index, parts, start = {}, [], 0
        for caption, one in sorted(captions.items()):
            rows = torch.cat([one.tokens, one.pooled[None]]).numpy()
            index[caption] = (start, start + len(rows), one.length, _digest(rows))
            parts.append(rows)
            start += len(rows)
        text = json.dumps([*facts, index])
        digest = hashlib.sha256((self._key + text).encode()).hexdigest()
        path = self.folder / f"{self._key[:32]}-{digest[:16]}.safetensors"
        write_file(path, save({"rows": np.concatenate(parts)}, {"index": text, "digest": digest}), durable=False)
        return path


class _File(NamedTuple):
    """An open file: ``index`` has of each caption its first and last row but one, its length, and its digest."""

    rows: Any  # (R, E) float32, read where it is sliced
    num_bytes: int
    facts: EncoderFacts
    index: dict[str, tuple[int, int, int, str]]

    def read(self, caption: str) -> Encoded | None:
        """None if it is not in the file, or damaged."""
        if caption not in self.index:
            return None
        start, end, length, digest = self.index[caption]
        rows = self.rows[start:end]
        if _digest(rows) != digest:
            return None
        tokens = torch.from_numpy(rows)
        return Encoded(tokens[:-1], tokens[-1], length)


def _open(path: Path, key: str) -> _File | None:
    """None if it is not the file that was written; ``key`` is what it must have been written under."""
    try:
        file = safe_open(path, framework="np")
        found = file.metadata()
        if hashlib.sha256((key + found["index"]).encode()).hexdigest() != found["digest"]:
            return None
        width, fingerprint, index = json.loads(found["index"])
        rows = file.get_slice("rows")
        return _File(rows, 4 * math.prod(rows.get_shape()), EncoderFacts(width, fingerprint), index)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def _digest(rows: np.ndarray) -> str:
    return hashlib.sha256(f"{rows.dtype} {rows.shape} ".encode() + rows.tobytes()).hexdigest()[:32]
