"""Encoded captions on disk, so that no run encodes what another has encoded: a small file each (``utils/store.py``).

The key of a caption is over everything that decides its bits; nothing is ever taken for something else.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from utils.store import Store

FORMAT = "text2sign text 4"
LENGTH_BYTES = 4  # before a caption's features: how many tokens it had before any cut


class Encoded(NamedTuple):
    """A caption: ``tokens`` (L, E) float32; ``length`` in tokens before any cut."""

    tokens: Tensor
    length: int


class EncoderFacts(NamedTuple):
    """What is asked of an encoder that need not be loaded: E, and the fingerprint that checkpoints remember."""

    width: int
    fingerprint: str


class TextCache:
    """What one encoder, known by its ``identity``, made of captions; in ``folder``, which encoders share.

    ``facts`` are the encoder's; None if no caption of it is known yet.
    """

    def __init__(self, folder: Path, *, identity: str, max_length: int) -> None:
        """``max_length`` in tokens, where captions are cut."""
        self.identity = identity
        self._store = Store(folder, what="encoded captions")
        self._made_by = [FORMAT, identity, max_length]
        found = self._store.get(self._key("facts"))
        self.facts = EncoderFacts(*json.loads(found)) if found else None

    def caption(self, caption: str) -> Encoded | None:
        """As it was encoded, to the bit; None if it is not known yet."""
        value = self._store.get(self._key("caption", caption)) if self.facts else None
        if value is None:
            return None
        tokens = torch.frombuffer(bytearray(value), dtype=torch.float32, offset=LENGTH_BYTES)
        return Encoded(tokens.view(-1, self.facts.width), int.from_bytes(value[:LENGTH_BYTES], "big"))

    def keep(self, caption: str, one: Encoded, facts: EncoderFacts) -> None:
        """Add what the encoder of these ``facts`` made of ``caption``."""
        if self.facts is None and self._store.put(self._key("facts"), json.dumps(facts).encode()):
            self.facts = facts
        value = one.length.to_bytes(LENGTH_BYTES, "big") + one.tokens.numpy().tobytes()
        self._store.put(self._key("caption", caption), value)

    def _key(self, *parts: str) -> str:
        return hashlib.sha256(json.dumps([*self._made_by, *parts]).encode()).hexdigest()
