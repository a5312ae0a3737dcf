"""A checkpoint -> a model that is ready to sample: averaged weights, settings, facts."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from torch import Tensor

from config import VERSION, Config, make_config, model_keys
from diffusion.text2sign import Text2Sign, create_text2sign
from methods.sampling.known_captions import KnownCaptions, Nearness
from methods.sampling.provenance import Provenance, Request, path_text
from models.encoder_files import TextEncoderError
from models.text_encoder import TextEncoder
from utils import runtime
from utils.checkpoints import file as checkpoint
from utils.checkpoints import folder
from utils.gif import MAX_FPS
from utils.video import batch_from_uint8, to_uint8

MOST_CLIPS = 8  # of a batch, where nobody says how many
UNTOLD_FPS = 8  # frames per second, where nobody knows those of the training clips
DEFAULT_PIXELS = 16 * 64 * 64  # of a clip of the default size, of which eight need 2.3 GiB beside the weights


def default_batch_size(config: Config) -> int:
    """Clips at a time where nobody says: eight, or as many as have no more pixels than eight of the default size.

    So sampling, previews and ranking need about as much memory whatever the size of the clips. A clip's bits hang on
    the shape of its batch, so this is a function of the config alone, and not of the memory that is free.
    """
    _, f, h, w = config.INPUT_SHAPE
    return max(1, min(MOST_CLIPS, MOST_CLIPS * DEFAULT_PIXELS // (f * h * w)))


@dataclass
class LoadedModel:
    """A model ready to sample, with the settings and the step that it comes from."""

    model: Text2Sign
    encoder: TextEncoder
    config: Config
    step: int
    path: Path
    sha256: str = ""  # of the checkpoint; empty where the weights were never saved
    training_data: dict[str, int | float | str] = field(default_factory=dict)  # "data" of a checkpoint
    batch_size: int = 0  # clips, or prompts for a clip, in one forward; 0 becomes ``default_batch_size``
    stored: dict[str, Any] = field(default_factory=dict)  # all of the checkpoint but weights; empty if never saved

    def __post_init__(self) -> None:
        self.batch_size = self.batch_size or default_batch_size(self.config)

    def with_settings(self, **changed: object) -> LoadedModel:
        """The same model under other settings of sampling."""
        return replace(self, config=replace(self.config, **changed))

    @cached_property
    def known(self) -> KnownCaptions | None:
        """The captions that it was trained on; None where nobody kept them."""
        return KnownCaptions.of(self.stored.get("captions") or {})

    def nearness(self, prompts: list[str], *, num: int = 3) -> list[Nearness] | None:
        """How far each prompt lies from the training captions, and the ``num`` nearest; None where nobody kept them."""
        return self.known.nearness(self.encoder, self.model.text, prompts, num=num) if self.known else None

    @property
    def form(self) -> str:
        """Of written clips, a key of ``writing.FORMS``; a GIF where nobody says what the model learned from."""
        found = "gif" if self.training_data.get("drawn", True) else "mp4"
        return found if self.config.CLIP_FORMAT == "auto" else self.config.CLIP_FORMAT

    @property
    def fps(self) -> float:
        """Frames per second of written clips: the setting, or those of the clips that the model learned from."""
        found = float(self.training_data.get("frames_per_second", UNTOLD_FPS))
        return self.config.FPS or round(min(max(found, 1.0), MAX_FPS), 3)

    def decoded(self, frames: np.ndarray) -> np.ndarray:
        """A real clip (F, H, W, 3) uint8 through the autoencoder and back: the most that the model can come to."""
        autoencoder = self.model.autoencoder
        assert autoencoder is not None, "a model in pixels has none"
        video = batch_from_uint8([frames]).to(self.model.clip_mean.device)
        return to_uint8(autoencoder.decode(autoencoder.encode(video))[0])

    def facts(
        self, request: Request, *, batch_size: int = 1, batch_position: int = 0, num_tokens: int = 1
    ) -> Provenance:
        """What decides the clip of ``request`` here and now; ``num_tokens`` is its batch's longest text."""
        config = self.config
        return Provenance(
            prompt=request.prompt,
            seed=request.seed,
            index=request.index,
            checkpoint=path_text(self.path),
            checkpoint_sha256=self.sha256,
            checkpoint_sha256_of="seal" if self.sha256 else "unsaved",
            step=self.step,
            experiment=config.EXPERIMENT_NAME,
            **sampling_settings(config),
            fps=self.fps,
            scale=config.CLIP_SCALE,
            batch_size=batch_size,
            batch_position=batch_position,
            num_tokens=num_tokens,
            frame_chunk_size=config.TINYFUSION_FRAME_CHUNK_SIZE,
            deterministic=config.DETERMINISTIC,
            **self.environment(),
        )

    def environment(self) -> dict[str, str | int]:
        """``provenance.ENVIRONMENT`` of this process."""
        device = self.model.clip_mean.device
        return {
            "device": device.type,
            "hardware": runtime.hardware(device),
            "precision": str(self.model.autocast_dtype or torch.float32).removeprefix("torch."),
            "num_threads": torch.get_num_threads(),
            "torch": str(torch.__version__),
            "transformers": _version_of("transformers"),
            "pillow": PIL.__version__,
            "av": _version_of("av"),
            "version": VERSION,
        }


@cache
def _version_of(package: str) -> str:
    return importlib.metadata.version(package)


def sampling_settings(config: Config) -> dict[str, float | int | str]:
    """The keyword arguments of ``Text2Sign.sample`` that the config decides."""
    return {
        "num_steps": config.INFERENCE_TIMESTEPS,
        "sampler": config.SAMPLER,
        "eta": config.ETA,
        "guidance_scale": config.GUIDANCE_SCALE,
        "guidance_low": config.GUIDANCE_LOW,
        "guidance_high": config.GUIDANCE_HIGH,
    }


def load_model(path: Path, overrides: dict[str, object] | None = None, *, batch_size: int = 0) -> LoadedModel:
    """The averaged weights of a checkpoint or an exported folder, on the device of its config; ``overrides`` change
    what is not the model.

    Raises:
        CheckpointError: the file cannot be used, or an override contradicts the model that it holds.
        TextEncoderError: the encoder cannot be loaded or is another one.
    """
    content = folder.load_either(path)
    stored = checkpoint.config_of(content, path)
    config = make_config("default", {**stored.to_dict(), **(overrides or {})})
    for key in model_keys(stored.MODEL_ARCHITECTURE):
        if getattr(config, key) != getattr(stored, key):
            raise checkpoint.CheckpointError(
                f"{path} holds {key}={getattr(stored, key)!r}; {getattr(config, key)!r} was asked for. "
                f"Leave {key} out: a checkpoint's model cannot be changed by --set."
            )
    device, dtype = runtime.prepare(config)
    encoder = TextEncoder(config.TEXT_ENCODER, max_length=config.TEXT_MAX_LENGTH, cache_dir=config.CACHE_DIR)
    check_encoder(content["encoder"], encoder, path)
    model = create_text2sign(config, encoder)
    load_weights(model, folder.averaged(content), path)
    model.autocast_dtype = dtype
    model.to(device).eval()
    facts = {name: value for name, value in content.items() if name not in ("model", "ema", "optimizer", "scaler")}
    return LoadedModel(
        model, encoder, config, content["step"], path, content["sha256"], content["data"], batch_size, facts
    )


def load_weights(model: Text2Sign, weights: dict[str, Tensor], path: Path) -> None:
    """Strictly: every tensor of the model comes from the file, every tensor of the file goes into the model.

    Raises:
        CheckpointError: names the first tensor that does not fit.
    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise checkpoint.CheckpointError(f"{path} does not fit the model of its own config: {reason}") from error


def encoder_identity(encoder: TextEncoder) -> dict[str, str | int]:
    """What a checkpoint remembers of the frozen encoder."""
    return {"name": encoder.name, "width": encoder.width, "fingerprint": encoder.fingerprint}


def check_encoder(stored: dict[str, str | int], encoder: TextEncoder, path: Path) -> None:
    """Raises:
    TextEncoderError: the loaded encoder has other weights than the one that the checkpoint was trained with.
    """
    if stored["fingerprint"] != encoder.fingerprint:
        raise TextEncoderError(
            f"{path} was trained with TEXT_ENCODER={stored['name']} (fingerprint {stored['fingerprint']}); "
            f"{encoder.name} here has fingerprint {encoder.fingerprint}. Use the files that it was trained with."
        )
