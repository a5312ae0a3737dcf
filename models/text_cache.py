"""Encoded captions on disk, so that no run encodes what another has encoded: a small file each (``utils/store.py``).

The key of a caption is over everything that decides its bits; nothing is ever taken for something else.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from utils.store import Store

FORMAT = "text2sign text 3"
LENGTH_BYTES = 4  # before a caption's features: how many tokens it had before any cut


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
    """What one encoder, known by its ``identity``, made of captions; in ``folder``, which encoders share."""

    def __init__(self, folder: Path, *, identity: str, max_length: int) -> None:
        """``max_length`` in tokens, where captions are cut."""
        self.identity = identity
        self._store = Store(folder, what="encoded captions")
        self._made_by = [FORMAT, identity, max_length]
        found = self._store.get(self._key("facts"))
        self._facts = EncoderFacts(*json.loads(found)) if found else None

    def facts(self) -> EncoderFacts | None:
        """Of the encoder; None if no caption of it is known yet."""
        return self._facts

    def caption(self, caption: str) -> Encoded | None:
        """As it was encoded, to the bit; None if it is not known yet."""
        value = self._store.get(self._key("caption", caption)) if self._facts else None
        if value is None:
            return None
        rows = np.frombuffer(bytearray(value), np.float32, offset=LENGTH_BYTES).reshape(-1, self._facts.width)
        features = torch.from_numpy(rows)
        return Encoded(features[:-1], features[-1], int.from_bytes(value[:LENGTH_BYTES], "big"))

    def keep(self, captions: dict[str, Encoded], facts: EncoderFacts) -> None:
        """Add what the encoder of these ``facts`` made of ``captions``."""
        if captions and self._facts is None and self._store.put(self._key("facts"), json.dumps(facts).encode()):
            self._facts = facts
        for caption, one in captions.items():
            rows = torch.cat([one.tokens, one.pooled[None]]).numpy().tobytes()
            self._store.put(self._key("caption", caption), one.length.to_bytes(LENGTH_BYTES, "big") + rows)

    def _key(self, *parts: str) -> str:
        return hashlib.sha256(json.dumps([*self._made_by, *parts]).encode()).hexdigest()
