"""A written clip made again from what its comment says, and compared with the file bit for bit.

H.264 loses some, but the same frames give the same bytes under the same version of x264. Under another one the clip's
bytes cannot come again; then the pictures are compared, and how far they are apart is told.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from config import ConfigError
from methods.sampling.generate import GeneratedClip, generate
from methods.sampling.loading import LoadedModel, load_model
from methods.sampling.provenance import ENVIRONMENT, Provenance, ProvenanceError, Request
from utils import runtime
from utils.checkpoints import folder
from utils.checkpoints.listing import same_beside
from utils.writing import FORMS, form_at

PRECISIONS = {"bfloat16": "bf16", "float16": "fp16", "float32": "no"}  # dtype -> MIXED_PRECISION


def check_weights(facts: Provenance, path: Path, clip: Path) -> None:
    """Does ``path`` hold the weights that made ``clip``?

    Raises:
        CheckpointError: ``path`` is missing.
        ProvenanceError: other weights, or the clip's were never saved.
    """
    wanted = facts.checkpoint_sha256
    if not wanted:
        raise ProvenanceError(
            f"{clip} shows weights after step {facts.step:,} that were not saved, so nothing can make it again. "
            "Clips that python main.py sample writes can be."
        )
    gone = not path.exists() and str(path) == facts.checkpoint
    found = "" if gone else folder.load_either(path, verify=False)["sha256"]
    if found != wanted:
        has = f"has others, of SHA-256 {found[:12]}..." if found else "does not exist here"
        beside = same_beside(path, wanted)
        cure = "Give the right file" if beside is None else f"{beside} has them"
        flag = f"--checkpoint {'PATH' if beside is None else shlex.quote(str(beside))}"
        raise ProvenanceError(f"{clip} was made by weights of SHA-256 {wanted[:12]}...; {path} {has}. {cure}: {flag}")


def load(facts: Provenance, path: Path, clip: Path) -> LoadedModel:
    """The model of ``path`` with the stored settings, precision and threads, on the stored device if there is one.

    Raises:
        ProvenanceError: the checkpoint's model cannot be sampled as the comment says.
        CheckpointError, TextEncoderError: as ``load_model``.
    """
    torch.set_num_threads(facts.num_threads)  # sums are taken in as many parts
    device, precision = _available(facts)
    overrides = {
        "SEED": facts.seed,
        "SAMPLER": facts.sampler,
        "INFERENCE_TIMESTEPS": facts.num_steps,
        "ETA": facts.eta,
        "GUIDANCE_SCALE": facts.guidance_scale,
        "GUIDANCE_LOW": facts.guidance_low,
        "GUIDANCE_HIGH": facts.guidance_high,
        "FPS": facts.fps,
        "CLIP_FORMAT": form_at(clip),
        "CLIP_SCALE": facts.scale,
        "TINYFUSION_FRAME_CHUNK_SIZE": facts.frame_chunk_size,
        "DETERMINISTIC": facts.deterministic,
        "DEVICE": device,
        "MIXED_PRECISION": precision,
    }
    try:
        loaded = load_model(path, overrides, batch_size=facts.batch_size)
    except ConfigError as error:
        raise ProvenanceError(f"{clip} has a comment that does not fit {path}: {error}") from error
    own, most = loaded.encoder.encode([facts.prompt]).mask.shape[1], loaded.config.TEXT_MAX_LENGTH
    if not own <= facts.num_tokens <= most:
        raise ProvenanceError(
            f"{clip} has a comment that does not fit {path}: num_tokens={facts.num_tokens}; "
            f"its prompt has {own} and the model takes {most}."
        )
    return loaded


def _available(facts: Provenance) -> tuple[str, str]:
    """DEVICE and MIXED_PRECISION as stored, or ``auto`` where this machine has not got them."""
    precision = PRECISIONS[facts.precision]
    try:
        runtime.resolve_precision(precision, runtime.resolve_device(facts.device))
    except ConfigError:
        return "auto", "auto" if precision == "fp16" else precision
    return facts.device, precision


def surroundings(facts: Provenance, loaded: LoadedModel) -> list[str]:
    """``torch 2.14.0 -> 2.15.0`` for all that is not as it was, and may round otherwise."""
    now, others = loaded.environment(), {form.package for form in FORMS.values()} - {FORMS[loaded.form].package}
    then = {name: getattr(facts, name) for name in ENVIRONMENT if name not in others}
    return [f"{name} {value} -> {now[name]}" for name, value in then.items() if value != now[name]]


def make_again(
    loaded: LoadedModel, facts: Provenance, on_step: Callable[[int], object] = lambda num_clips: None
) -> GeneratedClip:
    """The clip as it comes here, in a batch of the same shape that holds nothing but itself."""
    requests = [Request(facts.prompt, facts.seed, facts.index)] * facts.batch_size
    return generate(loaded, requests, num_tokens=facts.num_tokens, on_step=on_step)[facts.batch_position]


def difference(found: np.ndarray, wanted: np.ndarray) -> str:
    """In what two clips (F, H, W, 3) uint8 differ, in words."""
    if found.shape != wanted.shape:
        return f"in its shape: {found.shape}, wanted {wanted.shape}"
    distance = np.abs(found.astype(int) - wanted).max(axis=3)
    if not distance.any():
        return "in its bytes and in no pixel: another program or version wrote the file"
    num_pixels = f"{np.count_nonzero(distance):,} of {distance.size:,} pixels"
    return f"in {num_pixels}, by at most {distance.max()} of 255 levels"
