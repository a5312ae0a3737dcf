"""What is asked for, and what made a clip: all that decides its bits, its file's name and comment. No torch in here.

A clip's neighbours in its batch cannot change it, but the batch's shape can, by a rounding: matrix products sum in an
order that depends on the number of clips, on the clip's place among them and on the padded length of the text. These
three are stored, so that the clip can be made again bit for bit without its neighbours' prompts.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from config import ConfigError, Count, Fraction, Limits, NonNegative, UserError, Whole, check_value
from utils.writing import read_comment

KEY = "text2sign_clip"  # the comment's first key; its value is the format
FORMAT = 3
_EVERYWHERE = {"guidance_low": 0.0, "guidance_high": 1.0}
UPDATES = {1: {"scale": 1, "av": "", **_EVERYWHERE}, 2: _EVERYWHERE}  # older format -> what it did not say
MAX_COMMENT = 2**17  # characters
SHOWN = 60  # characters of what was found, in a message


class ProvenanceError(UserError):
    """A clip that does not tell what made it, or that cannot be made again from what it tells."""


@dataclass(frozen=True)
class Request:
    """One clip to make: the ``index``-th of ``prompt`` under ``seed``. The three alone decide its noise."""

    prompt: str
    seed: int
    index: int = 0


@dataclass(frozen=True)
class Provenance:
    """The facts of one clip. Construction does not check them; ``from_json`` does."""

    prompt: str
    seed: Whole
    index: Whole  # of the clips of this prompt and seed
    checkpoint: str  # path, as it was given
    checkpoint_sha256: str  # 64 hexadecimal digits; empty if unsaved
    checkpoint_sha256_of: Literal["seal", "file", "unsaved"]  # the seal inside the file, or the bytes of one without
    step: Whole
    experiment: str
    sampler: Literal["ddim", "ddpm", "dpm++"]
    num_steps: Count
    eta: Fraction
    guidance_scale: NonNegative
    guidance_low: Fraction  # of the training steps: where guidance acts
    guidance_high: Fraction
    fps: Annotated[float, Limits(1, 50)]
    scale: Count  # px, height and width of one of the model's pixels
    batch_size: Annotated[int, Limits(1, 2**16)]  # clips that were sampled together
    batch_position: Whole  # of this one among them
    num_tokens: Annotated[int, Limits(1, 512)]  # the longest text of the batch
    frame_chunk_size: Count
    deterministic: bool
    device: Literal["cuda", "mps", "cpu"]
    hardware: str
    precision: Literal["float32", "bfloat16", "float16"]
    num_threads: Annotated[int, Limits(1, 1024)]  # of the CPU
    torch: str
    transformers: str
    pillow: str
    av: str
    version: str  # of Text2Sign

    def to_json(self) -> str:
        """One line of plain JSON; other scripts stay readable."""
        return json.dumps({KEY: FORMAT, **asdict(self)}, ensure_ascii=False, allow_nan=False)


ENVIRONMENT = ("device", "hardware", "precision", "num_threads", "torch", "transformers", "pillow", "av", "version")
"""What may round otherwise on another machine."""

DECIDES = (
    "prompt", "seed", "index", "checkpoint_sha256", "checkpoint_sha256_of", "sampler", "num_steps", "eta",
    "guidance_scale", "guidance_low", "guidance_high", "fps", "scale", "precision",
)  # fmt: skip
"""Where any of these is another, it is another clip; the rest can change it by roundings alone."""


def file_name(facts: Provenance, suffix: str = ".gif") -> str:
    """Prompt, step, settings, seed and number: clips that differ in any of them lie side by side."""
    sampler = f"eta{facts.eta:g}" if facts.sampler == "ddim" else facts.sampler  # only ddim knows ETA
    acts = (facts.guidance_low, facts.guidance_high)
    interval = "" if acts == (0, 1) else "in{:g}-{:g}".format(*acts)
    settings = f"step{facts.step:06d}_{facts.num_steps}x{sampler}_guide{facts.guidance_scale:g}{interval}"
    return f"{file_stem(facts.prompt)}_{settings}_seed{facts.seed}_{facts.index:02d}{suffix}"


def file_stem(prompt: str) -> str:
    """A prompt as a file name: readable, ASCII, and distinct for prompts that differ only in what was dropped or in
    case, since not every file system tells capitals apart. With 12 digits, 100,000 such prompts stay distinct."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", prompt).strip("-")[:60] or "prompt"
    plain = words.replace("-", " ") == prompt == prompt.lower()
    return words if plain else f"{words}-{hashlib.sha256(prompt.encode()).hexdigest()[:12]}"


def path_text(path: Path) -> str:
    """A path as it can be written down: the bytes of its name need not be UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")


def read(path: Path) -> Provenance:
    """The facts in the comment of the clip ``path``, in whatever form.

    Raises:
        VideoError: no clip.
        ProvenanceError: no comment, or not one that ``from_json`` takes.
    """
    return from_json(read_comment(path), path)


def from_json(text: str, path: Path) -> Provenance:
    """The inverse of ``to_json``; ``path`` is for the messages.

    Raises:
        ProvenanceError: empty, foreign, of another format, incomplete, or a value that no clip of ours has.
    """
    if not text:
        raise ProvenanceError(f"{path} has no comment: Text2Sign did not write it, or another program dropped it.")
    try:
        found = json.loads(text) if len(text) <= MAX_COMMENT else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or KEY not in found:
        raise ProvenanceError(f"{path} has a comment that is not of Text2Sign's sampler: {shown(text)}.")
    version = found.pop(KEY)
    if type(version) is int and version in UPDATES:
        version, found = FORMAT, {**UPDATES[version], **found}
    if type(version) is not int or version != FORMAT:
        raise ProvenanceError(f"{path} has a comment of format {shown(version)}; this version reads {FORMAT}. Update.")
    hints = get_type_hints(Provenance, include_extras=True)
    if wrong := sorted(found.keys() ^ hints.keys()):
        raise ProvenanceError(f"{path} lacks {shown(wrong[0])} in its comment, or has it too many; it was changed.")
    try:
        facts = Provenance(**{name: _checked(name, found[name], hint) for name, hint in hints.items()})
        if facts.batch_position >= facts.batch_size:
            raise ConfigError(f"batch_position={facts.batch_position} of batch_size={facts.batch_size}, from 0.")
    except ConfigError as error:
        raise ProvenanceError(f"{path} cannot be right in its comment: {' '.join(str(error)[:300].split())}") from error
    return facts


def _checked(name: str, value: object, hint: Any) -> Any:
    """As ``check_value``; text is Unicode, without the halves of characters that JSON and other bytes can hold, and
    but for the prompt, which no message shows, is printable."""
    if isinstance(value, str) and (
        not value.isprintable() if name != "prompt" else re.search("[\ud800-\udfff]", value)
    ):
        raise ConfigError(f"{name}={shown(value)} is no plain text.")
    return check_value(name, value, hint)


def shown(value: object, most: int = SHOWN) -> str:
    """What was found, for a message: ASCII, and of at most so many characters."""
    text = ascii(value) if isinstance(value, str) else str(value)[: most + 1]
    return text if len(text) <= most else f"{text[:most]}..."
