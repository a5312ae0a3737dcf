"""Prompts -> clips, each with what decided it -> files. One way for ``sample``, ``reproduce``, ``evaluate``, previews:

commands/sample.py   prompts of flags and files (``prompts.py``) -> requests; a checkpoint -> model (``loading.py``)
queue.py             requests -> batches, and the file of each clip; what is finished is left as it is
generate.py          a batch -> its texts, encoded once -> clips out of noise, with their facts
Text2Sign.sample     texts and noise -> video, step by step (``diffusion/text2sign.py``)
GeneratedClip.write  frames and facts -> a clip and its comment (``provenance.py`` reads it again)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch

from methods.sampling.loading import LoadedModel, sampling_settings
from methods.sampling.provenance import Provenance, Request
from utils import runtime
from utils.video import to_uint8
from utils.writing import FORMS, encode_clip, enlarged, write_parts


@dataclass(frozen=True)
class GeneratedClip:
    """``frames`` (F, H, W, 3) uint8, the ``facts`` that decided every bit of them, and the ``form`` of its file."""

    frames: np.ndarray
    facts: Provenance
    form: str = "gif"

    @property
    def suffix(self) -> str:
        """Of its file."""
        return FORMS[self.form].suffix

    @cached_property
    def parts(self) -> list[bytes]:
        """What is written of it, as ``encode_clip`` has it: enlarged, the comment is the facts.

        Raises:
            VideoError: it is too large.
        """
        return self.encode(self.facts.to_json())

    def encode(self, comment: str) -> list[bytes]:
        """``parts`` with another comment."""
        frames = enlarged(self.frames, self.facts.scale)
        return encode_clip(frames, self.facts.fps, form=self.form, comment=comment)

    def write(self, path: Path) -> None:
        """Raises:
        FileError: the disk refuses.
        """
        write_parts(path, self.parts, form=self.form)


def generate(
    loaded: LoadedModel,
    requests: list[Request],
    *,
    num_tokens: int = 1,
    on_step: Callable[[int], object] = lambda num_clips: None,
) -> list[GeneratedClip]:
    """One clip a request, in their order, sampled as the config says; to rounding, none depends on its neighbours.

    Texts are padded to ``num_tokens`` at least. ``on_step`` hears the number of clips after each denoising step.

    Raises:
        VideoError: a clip is not finite.
    """
    settings, clips = sampling_settings(loaded.config), []
    for start in range(0, len(requests), loaded.batch_size):
        batch = requests[start : start + loaded.batch_size]
        text = loaded.encoder.encode([request.prompt for request in batch]).padded(num_tokens)
        noise = [noise_of(request) for request in batch]
        video = loaded.model.sample(text, noise, **settings, on_step=partial(on_step, len(batch)))
        size = {"batch_size": len(batch), "num_tokens": text.mask.shape[1]}
        for place, (request, clip) in enumerate(zip(batch, video, strict=True)):
            facts = loaded.facts(request, batch_position=place, **size)
            clips.append(GeneratedClip(to_uint8(clip.cpu()), facts, loaded.form))
    return clips


def noise_of(request: Request) -> torch.Generator:
    """The clip's own generator, on the CPU."""
    return runtime.generator(request.seed, "sample", request.prompt, request.index)
