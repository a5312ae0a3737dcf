"""What a training begins from: the backbone's first weights, which of them are trained, and the clips' statistics.

Freezing keeps what the published model computes between its first and its last layer: the blocks and the timestep
embedding. The patch embedding and the final layer are trained although they are derived from published ones, because
they translate between the model's latents and our colours, and nothing published says how to do that well; so is the
final layer's own modulation, which decides what of the result counts at which timestep.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from config import Config, ConfigError, UserError
from dataset import TextToSignDataset
from diffusion.text2sign import Text2Sign
from external.TinyFusion.weights import LoadReport, load_published, read_published
from methods.sampling.loading import check_encoder, load_weights
from models.architectures.tinyfusion import TinyFusionVideo
from models.autoencoders.contract import AutoencoderError
from models.autoencoders.pca import PatchComponents
from models.text_encoder import TextEncoder
from utils.checkpoints import file as checkpoint
from utils.checkpoints import folder

TEXT_AMPLITUDE = 0.5
"""Of the text beside published weights, which have never met it: at 1 it drowns what they know of the timestep, at 0
they begin as published and learn the text last. ``benchmarks/warm_start.py`` compares."""
FITTED = 256  # clips that an autoencoder learns from, at most


PUBLISHED_LICENCE = "cc-by-nc-4.0"  # pretrained/README.md; it follows whatever began from these weights


class TrainingError(UserError):
    """Training cannot go on: nothing to train, or the numbers have broken down."""


def begin(
    model: Text2Sign, config: Config, data: TextToSignDataset, training: list[int], encoder: TextEncoder,
    *, init: Path | None = None,
) -> tuple[str, dict[str, str]]:  # fmt: skip
    """Weights and statistics into a fresh model: those of ``init``, a checkpoint or an exported folder, or the
    backbone's first weights and the statistics of the clips ``training``.

    Returns the words for it, which are to be told, and the origin that checkpoints keep: ``weights`` is "scratch",
    "published" or "model", and what began from published weights has ``licence`` for ever.

    Raises:
        UserError: as ``initialise_backbone`` and ``load_init``.
    """
    if init is not None:
        return load_init(model, config, encoder, init)
    words = initialise_backbone(model, config)
    if told := fit_statistics(model, data, training, encoder):
        words += f"\nautoencoder: {told}"
    if why_from_scratch(config) is not None:
        return words, {"weights": "scratch"}
    return words, {"weights": "published", "of": Path(config.TINYFUSION_CHECKPOINT).name, "licence": PUBLISHED_LICENCE}


def load_init(model: Text2Sign, config: Config, encoder: TextEncoder, path: Path) -> tuple[str, dict[str, str]]:
    """The averaged weights and statistics of another model into ``model``, strictly.

    Raises:
        CheckpointError: it cannot be read, or is built otherwise than the config says.
        TextEncoderError: it was trained with another encoder.
    """
    content = folder.load_either(path)
    stored = checkpoint.config_of(content, path)
    checkpoint.check_resumable(path, replace(stored, TEXT_ENCODER=config.TEXT_ENCODER), config)
    check_encoder(content["encoder"], encoder, path)
    load_weights(model, folder.averaged(content), path)
    origin = {"weights": "model", "of": content["sha256"]}
    if licence := published_licence(content["origin"], stored):
        origin["licence"] = licence
    return f"weights and statistics: the averages of {path} at step {content['step']:,}", origin


def published_licence(origin: dict[str, str], config: Config) -> str:
    """The licence that published weights left on a model; empty where none of it is theirs.

    A checkpoint of an earlier version has no origin: then what its settings may have loaded counts as loaded.
    """
    if origin:
        return origin.get("licence", "")
    maybe = config.MODEL_ARCHITECTURE == "tinyfusion" and config.TINYFUSION_INIT != "scratch"
    return PUBLISHED_LICENCE if maybe else ""


def initialise_backbone(model: Text2Sign, config: Config) -> str:
    """Published weights into a fresh backbone, or none. Returns the words for it, which are to be told.

    Raises:
        ConfigError: published weights are required or to be frozen, and none are there.
        WeightsError: the file does not fit.
    """
    tinyfusion = config.MODEL_ARCHITECTURE == "tinyfusion"
    name = config.TINYFUSION_VARIANT if tinyfusion else config.MODEL_ARCHITECTURE
    reason = why_from_scratch(config)
    if reason is None:
        return f"backbone: {name} from {config.TINYFUSION_CHECKPOINT}\n{_load(model, config)}"
    if config.TINYFUSION_INIT == "pretrained":
        raise ConfigError(f"TINYFUSION_INIT=pretrained but {reason}. Train from scratch: --set TINYFUSION_INIT=scratch")
    if config.TINYFUSION_FREEZE_BACKBONE:
        raise _nothing_to_freeze(reason)
    return f"backbone: {name} from scratch ({reason})"


def why_from_scratch(config: Config) -> str | None:
    """What keeps published weights out of a fresh backbone; None if they are to be loaded."""
    if config.MODEL_ARCHITECTURE != "tinyfusion":
        return f"nothing is published for MODEL_ARCHITECTURE={config.MODEL_ARCHITECTURE}"
    if config.TINYFUSION_INIT == "scratch":
        return "TINYFUSION_INIT=scratch"
    if not Path(config.TINYFUSION_CHECKPOINT).is_file():
        return f"{config.TINYFUSION_CHECKPOINT} does not exist (its source: pretrained/README.md)"
    return None


def _load(model: Text2Sign, config: Config) -> LoadReport:
    """-> the four lists, over the whole backbone: what lies around the DiT is newly initialised."""
    path, backbone = Path(config.TINYFUSION_CHECKPOINT), model.backbone
    report = load_published(backbone.dit, read_published(path), source=str(path))
    backbone.text.set_amplitude(TEXT_AMPLITUDE)
    around = tuple(name for name in backbone.state_dict() if not name.startswith("dit."))
    return replace(report, newly_initialised=(*report.newly_initialised, *around))


def fit_statistics(model: Text2Sign, data: TextToSignDataset, training: list[int], encoder: TextEncoder) -> str:
    """Autoencoder, clip and text statistics from the clips ``training`` alone, as far as the model fits them.

    Returns what there is to tell of it.
    """
    told = ""
    if model.autoencoder is not None:
        some = training[:: -(-len(training) // FITTED)]
        told = model.autoencoder.fit(data.videos(part) for part in data.batches(some))
    if model.standardise_clips or model.autoencoder is not None:
        mean, std = data.statistics(training, encode=model.encode)
        if not math.isfinite(std):
            raise _not_finite(model, data, training)
        model.fit_clip_statistics(mean, std)
    model.text.fit(encoder.batches(sorted({data.texts[i] for i in training})))
    return told


def _not_finite(model: Text2Sign, data: TextToSignDataset, training: list[int]) -> AutoencoderError:
    broken = (row for row in training if not bool(model.encode(data.videos([row])).isfinite().all()))
    name = data.names[next(broken)]
    return AutoencoderError(f"{name} has latents with NaN or infinity. Remove the clip, or use another AUTOENCODER.")


def autoencoder_on_new_clips(model: Text2Sign, data: TextToSignDataset, training: list[int], config: Config) -> str:
    """What an autoencoder that was fitted to other clips loses of those ``training``; empty where none was fitted."""
    if not isinstance(model.autoencoder, PatchComponents):
        return ""
    some, errors = training[:: -(-len(training) // FITTED)], 0.0
    device = model.clip_mean.device
    for part in data.batches(some):
        video = data.videos(part).to(device)
        errors += float((model.autoencoder.decode(model.autoencoder.encode(video)) - video).square().mean()) * len(part)
    decibels = 10 * math.log10(4 / max(errors / len(some), 1e-12))
    return f"{config.AUTOENCODER} was fitted to other clips and is kept; of these it gives back {decibels:.1f} dB PSNR"


def freeze_backbone(model: Text2Sign, *, frozen: bool) -> None:
    """``frozen`` leaves trainable what is not published: the adapters, the patch embedding and the final layer.

    Called for fresh and resumed runs alike; only ``initialise_backbone`` knows whether a fresh one has anything to
    freeze, and a resumed one goes on as it was begun.

    Raises:
        ConfigError: this architecture has no published part.
        TrainingError: nothing is left to train.
    """
    if frozen:
        if not isinstance(model.backbone, TinyFusionVideo):
            raise _nothing_to_freeze(f"nothing is published for the backbone {type(model.backbone).__name__}")
        model.backbone.dit.blocks.requires_grad_(False)
        model.backbone.dit.t_embedder.requires_grad_(False)
    if not any(p.requires_grad for p in model.parameters()):
        raise TrainingError("No trainable parameters. Set TINYFUSION_FREEZE_BACKBONE = False in config.py.")


def _nothing_to_freeze(reason: str) -> ConfigError:
    return ConfigError(
        f"TINYFUSION_FREEZE_BACKBONE=True but {reason}: random blocks would be frozen and never learn. Wanted "
        "MODEL_ARCHITECTURE=tinyfusion with published weights, TINYFUSION_INIT=pretrained. "
        "Or train all of it: --set TINYFUSION_FREEZE_BACKBONE=False"
    )
