"""What may be set: every setting's name, type, limits and default. Standard library, ``limits`` and ``presets`` only.

Precedence: the values below < ``--preset NAME`` < ``--set KEY=VALUE``. There is no other way to configure.

    python main.py config                          # effective values, and what differs from the defaults
    python main.py config --preset demo --set SEED=7
    python main.py train --preset demo --set NUM_EPOCHS=50
"""

from __future__ import annotations

import ast
import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_type_hints

from limits import ConfigError, Limits, base_type, check_value, nearest
from limits import UserError as UserError  # all take their errors from here
from presets import PRESETS

VERSION = "0.4.0"  # of Text2Sign; pyproject.toml says the same
MAX_SIDE = 4096  # px, of a clip that is read or written
PCA_SIDE = 8  # px, of the patches of AUTOENCODER=pca:K

Count = Annotated[int, Limits(1)]  # at least one
Whole = Annotated[int, Limits(0)]  # zero switches the feature off
Positive = Annotated[float, Limits(0.0, above=True)]
NonNegative = Annotated[float, Limits(0.0)]
Fraction = Annotated[float, Limits(0.0, 1.0)]

Architecture = Literal["tinyfusion", "vivit", "vit3d", "dit3d", "unet3d"]
ClipFormat = Literal["auto", "gif", "mp4", "webp", "frames"]
DataFormat = Literal[
    "auto", "pairs", "table", "how2sign", "phoenix14t", "wlasl", "asl_citizen", "autsl", "csl_daily", "lsa64", "include"
]
_VARIANTS = ("D14", "D19", "D7", "XL", "L", "B", "S", "XS", "XXS")
Variant = Literal[tuple(f"DiT-{name}/{patch}" for name in _VARIANTS for patch in (2, 4, 8, 16))]  # type: ignore[valid-type]


@dataclass(frozen=True)
class Config:
    """All settings, flat and frozen. Construction validates types, limits and relations.

    Raises:
        ConfigError: names the setting, what was found and what was wanted.
    """

    # ---- Experiment -------------------------------------------------------------------------------------------------
    EXPERIMENT_NAME: str = "tinyfusion_test_3"  # sub-folder of the three output folders below
    SEED: Whole = 42  # every random number is a function of (SEED, what, when)
    DEVICE: Literal["auto", "cuda", "mps", "cpu"] = "auto"  # auto: the first of cuda, mps, cpu that is present
    MIXED_PRECISION: Literal["auto", "bf16", "fp16", "no"] = "auto"  # autocast of the backbone; auto: by device
    DETERMINISTIC: bool = False  # only bitwise reproducible kernels; slower on a GPU
    DISTRIBUTED: Literal["ddp", "fsdp"] = "ddp"  # under torchrun: every process holds the whole state, or a part of it

    # ---- Model: the keys that a checkpoint fixes (see MODEL_KEYS) ---------------------------------------------------
    MODEL_ARCHITECTURE: Architecture = "tinyfusion"  # backbone, a key of ARCHITECTURES in diffusion/text2sign.py
    TINYFUSION_VARIANT: Variant = "DiT-D14/2"  # published DiT name / patch size in px
    TINYFUSION_ADAPTER_WIDTH: Count = 288  # channels of the temporal and text adapters, a multiple of 32
    TUBELET_FRAMES: Count = 2  # vivit, vit3d, dit3d: frames of a tubelet, the box of pixels that becomes one token
    TUBELET_SIZE: Count = 4  # the same three: px, height and width of a tubelet
    TRANSFORMER_WIDTH: Count = 512  # the same three: channels of a token, a multiple of 64 (attention heads of 64)
    TRANSFORMER_DEPTH: Count = 12  # the same three: blocks
    UNET_PATCH_SIZE: Count = 2  # unet3d: px, height and width of the squares that the finest resolution consists of
    UNET_WIDTH: Count = 64  # unet3d: channels at the finest resolution, a multiple of 32; doubled at each halving
    UNET_LEVELS: Count = 4  # unet3d: resolutions
    NUM_FRAMES: Annotated[int, Limits(2)] = 16  # frames of a clip
    IMAGE_SIZE: Count = 64  # px, height and width
    AUTOENCODER: str = ""  # "": the model works in pixels; else in latents: pca:K, hub name or folder of diffusers
    LATENT_CHANNELS: Count = 4  # of a hub name's or folder's latents; pca:K has K
    LATENT_FACTOR: Count = 8  # px, side of a cell of theirs; pca:K has 8
    TEXT_ENCODER: str = "distilbert-base-uncased"  # hub name, local folder, or package:NAME
    TEXT_MAX_LENGTH: Annotated[int, Limits(3, 512)] = 32  # tokens of a caption, longer ones are cut and said so
    TIMESTEPS: Annotated[int, Limits(2)] = 50  # steps of the training noise process
    NOISE_SCHEDULER: Literal["cosine", "linear"] = "cosine"  # alphas_cumprod over t
    NOISE_SHIFT: Positive = 12.0  # the noise-to-signal amplitude ratio at every t is multiplied by this; 1: unshifted
    PREDICTION_TYPE: Literal["epsilon", "v_prediction", "sample"] = "sample"  # what the backbone's output means
    STANDARDISE_CLIPS: bool = True  # the process runs on (clip - per-pixel mean) / deviation of the training clips
    STANDARDISE_TEXT: bool = True  # text features by mean and deviation over the training captions

    # ---- Memory -----------------------------------------------------------------------------------------------------
    TINYFUSION_FRAME_CHUNK_SIZE: Count = 4  # frames through a spatial block at a time; changes memory, never results
    GRADIENT_CHECKPOINTING: bool = True  # recompute activations in the backward pass; likewise

    # ---- Warm start -------------------------------------------------------------------------------------------------
    TINYFUSION_CHECKPOINT: str = "pretrained/TinyDiT-D14-MaskedKD-500K.pt"  # published weights (pretrained/README.md)
    TINYFUSION_INIT: Literal["auto", "pretrained", "scratch"] = "auto"  # auto: pretrained if there, and said
    TINYFUSION_FREEZE_BACKBONE: bool = False  # True trains adapters, patch embedding and final layer only

    # ---- Data -------------------------------------------------------------------------------------------------------
    DATA_DIR: str = "training_data"  # clips and their texts
    DATA_FORMAT: DataFormat = "auto"  # how they lie there, a key of LAYOUTS in utils/layouts; auto: recognised
    FRAME_SPACING: str = "even"  # NUM_FRAMES over the whole clip, or frames per second ("12.5") of any window of it
    VALIDATION_FRACTION: Annotated[float, Limits(0.0, 0.9)] = 0.1  # of the groups of clips, held out by SPLIT_SEED
    SPLIT_SEED: Whole = 0  # which groups are held out; apart from SEED, so that runs compare
    SPLIT_BY: Literal["group", "signer"] = "group"  # what stays together: names GROUP__REST, or signers that are named
    SPLIT_FILE: str = ""  # JSON with "held_out": names of groups; decides instead of the three above
    TRAIN_ON_DOUBLES: bool = False  # on clips whose very content is held out or for test too
    SHUFFLE_CAPTIONS: bool = False  # text-blind control: every clip gets a random training caption at every step

    # ---- Optimisation -----------------------------------------------------------------------------------------------
    BATCH_SIZE: Count = 1  # clips per forward
    GRADIENT_ACCUMULATION_STEPS: Count = 1  # forwards per optimiser step
    NUM_EPOCHS: Count = 1000  # passes over the training clips
    LEARNING_RATE: Positive = 1e-4  # AdamW, after warm-up
    WARMUP_STEPS: Whole = 100  # linear, from 0
    LR_DECAY: Literal["none", "cosine"] = "none"  # cosine: falls to zero at the last step
    LR_DECAY_START: Fraction = 0.0  # share of the run after which the cosine begins
    ADAM_BETA1: Annotated[float, Limits(0.0, 0.9999)] = 0.9
    ADAM_BETA2: Annotated[float, Limits(0.0, 0.9999)] = 0.99
    WEIGHT_DECAY: NonNegative = 0.01  # AdamW, matrices only
    GRADIENT_CLIP: Positive = 1.0  # largest L2 norm of the whole gradient
    EMA_DECAY: Annotated[float, Limits(0.0, 0.999999)] = 0.999  # per step, warmed up as min(EMA_DECAY, (1+s)/(10+s))
    EMA_DEVICE: Literal["model", "cpu"] = "cpu"  # where the averaged weights live; cpu spares 1.3 GiB of GPU memory
    EMA_EVERY: Count = 10  # steps between updates of the averaged weights
    CAPTION_DROPOUT: Fraction = 0.1  # share of captions replaced by the null prompt, for guidance
    LOSS_WEIGHTING: Literal["none", "min_snr"] = "none"  # Hang et al. 2023 for min_snr
    MIN_SNR_GAMMA: Positive = 5.0  # only for min_snr
    MOTION_WEIGHT: NonNegative = 8.0  # a moving pixel's error weighs 1 + this at first, 1 at the end: falls linearly

    # ---- Sampling ---------------------------------------------------------------------------------------------------
    INFERENCE_TIMESTEPS: Count = 50  # denoising steps of a generated clip, at most TIMESTEPS
    SAMPLER: Literal["ddim", "ddpm", "dpm++"] = "ddim"  # ddpm: posterior draws, no ETA; dpm++: few steps, ETA 0 only
    ETA: Fraction = 0.0  # ddim only. 0: deterministic, 1: DDPM's posterior variance
    GUIDANCE_SCALE: NonNegative = 2.0  # 0 ignores the text, 1 is plain conditioning, > 1 exaggerates it
    GUIDANCE_LOW: Fraction = 0.0  # guidance acts where t / TIMESTEPS is from this
    GUIDANCE_HIGH: Fraction = 1.0  # up to this; elsewhere the scale is 1, and a forward is spared
    FPS: Annotated[float, Limits(0, 50)] = 0.0  # frames per second of written clips; 0: as the training clips'
    CLIP_FORMAT: ClipFormat = "auto"  # of written clips; auto: mp4 where the model learned from a camera, else gif
    CLIP_SCALE: Annotated[int, Limits(1, 16)] = 1  # height and width of a pixel in a written clip, for eyes

    # ---- Intervals and folders --------------------------------------------------------------------------------------
    SAVE_EVERY_EPOCHS: Count = 10  # keeps checkpoint_epoch_NNNN.pt and renews latest_checkpoint.pt
    KEEP_CHECKPOINTS: Whole = 3  # numbered ones that stay on disk, 5 GB each at default size; 0: all
    SAMPLE_EVERY_EPOCHS: Whole = 5  # previews; 0: none
    NUM_PREVIEWS: Count = 4  # clips of a preview
    VALIDATE_EVERY_EPOCHS: Whole = 10  # loss of fixed clips under fixed noise, noise analysis and pictures; 0: never
    NUM_VALIDATION_CLIPS: Count = 16  # of these, at most; training clips where nothing is held out, and said
    RANK_EVERY_EPOCHS: Whole = 50  # prompt ranking of a few of them: does the text matter? 0: never
    LOG_EVERY_STEPS: Count = 10  # scalars to TensorBoard and metrics.jsonl
    LOG_DETAILS_EVERY_EPOCHS: Whole = 5  # histograms and norms of parameters; 0: neither these nor the graph
    CHECKPOINT_DIR: str = "checkpoints"
    LOG_DIR: str = "logs"
    SAMPLE_DIR: str = "generated_samples"
    CACHE_DIR: str = "cache"  # decoded clips and encoded captions, made anew when missing; "": none

    def __post_init__(self) -> None:
        for name, hint in field_types().items():
            object.__setattr__(self, name, check_value(name, getattr(self, name), hint))
        self._check_relations()

    def _check_relations(self) -> None:
        for name, unit, reason in self._units():
            if getattr(self, name) % unit:
                raise ConfigError(f"{name}={getattr(self, name)} is no multiple of {unit}, {reason}. Change either.")
        if self.INFERENCE_TIMESTEPS > self.TIMESTEPS:
            raise ConfigError(
                f"INFERENCE_TIMESTEPS={self.INFERENCE_TIMESTEPS} is more than TIMESTEPS={self.TIMESTEPS}. "
                "Lower the first or raise the second."
            )
        _ = self.FRAME_RATE, self.LATENT
        if self.SAMPLER == "dpm++" and self.ETA > 0:
            raise ConfigError(
                f"ETA={self.ETA:g} asks for noise, which SAMPLER=dpm++ never adds. Set ETA=0 or SAMPLER=ddim."
            )
        if self.GUIDANCE_LOW > self.GUIDANCE_HIGH:
            raise ConfigError(
                f"GUIDANCE_LOW={self.GUIDANCE_LOW:g} lies above GUIDANCE_HIGH={self.GUIDANCE_HIGH:g}. Exchange them."
            )
        if self.IMAGE_SIZE * self.CLIP_SCALE > MAX_SIDE:
            raise ConfigError(f"CLIP_SCALE={self.CLIP_SCALE} makes clips of more than {MAX_SIDE:,} px. Lower it.")
        for name in ("EXPERIMENT_NAME", "DATA_DIR", "TEXT_ENCODER"):
            if not getattr(self, name).strip():
                raise ConfigError(f"{name} is empty; wanted a name.")
        if self.EXPERIMENT_NAME == "." or any(part in self.EXPERIMENT_NAME for part in ("/", "\\", "..")):
            raise ConfigError(f"EXPERIMENT_NAME={self.EXPERIMENT_NAME!r} must be a plain folder name.")

    @property
    def FRAME_RATE(self) -> float | None:
        """Frames per second of what is trained on; None where they are even over each clip."""
        try:
            rate = None if self.FRAME_SPACING == "even" else float(self.FRAME_SPACING)
        except ValueError:
            rate = math.nan
        if rate is not None and not 0 < rate <= 1000:
            raise ConfigError(f"FRAME_SPACING={self.FRAME_SPACING!r}; wanted even, or frames per second such as 12.5.")
        return rate

    @property
    def LATENT(self) -> tuple[int, int] | None:
        """(channels, px on a side of a cell) of the autoencoder; None where the model works in pixels."""
        name, colon, number = self.AUTOENCODER.partition(":")
        if name != "pca" or not colon:
            return (self.LATENT_CHANNELS, self.LATENT_FACTOR) if self.AUTOENCODER.strip() else None
        most = 3 * PCA_SIDE**2
        if not (number.isdecimal() and 1 <= int(number) <= most):
            raise ConfigError(f"AUTOENCODER={self.AUTOENCODER!r}; wanted pca:K with K from 1 to {most}.")
        return int(number), PCA_SIDE

    def _units(self) -> list[tuple[str, int, str]]:
        """(setting, what it must be a multiple of, why) for the chosen architecture."""
        cell = self.LATENT[1] if self.LATENT else 1
        patch, coarsest = int(self.TINYFUSION_VARIANT.split("/")[1]), self.UNET_PATCH_SIZE * 2 ** (self.UNET_LEVELS - 1)
        head = "the width of an attention head"
        sides = f" of {cell} px, the cells of AUTOENCODER={self.AUTOENCODER}" if self.LATENT else ""
        units = [  # a setting whose readers mind it, then the unit
            ("TINYFUSION_VARIANT", "IMAGE_SIZE", patch * cell, f"px, the side of a patch of TINYFUSION_VARIANT{sides}"),
            ("TINYFUSION_ADAPTER_WIDTH", "TINYFUSION_ADAPTER_WIDTH", 32, head),
            ("TUBELET_SIZE", "IMAGE_SIZE", self.TUBELET_SIZE * cell, f"the TUBELET_SIZE{sides}"),
            ("TUBELET_FRAMES", "NUM_FRAMES", self.TUBELET_FRAMES, "the TUBELET_FRAMES"),
            ("TRANSFORMER_WIDTH", "TRANSFORMER_WIDTH", 64, head),
            ("UNET_LEVELS", "IMAGE_SIZE", coarsest * cell, f"px at the coarsest of UNET_LEVELS resolutions{sides}"),
            ("UNET_WIDTH", "UNET_WIDTH", 32, head),
        ]
        keys = model_keys(self.MODEL_ARCHITECTURE)
        return [unit for reader, *unit in units if reader in keys]

    @property
    def MODEL_NAME(self) -> str:
        """Architecture and size in a few words, for tables and messages."""
        sizes = {  # of those who read the setting
            "TINYFUSION_VARIANT": self.TINYFUSION_VARIANT,
            "TUBELET_SIZE": f"{self.TUBELET_FRAMES}x{self.TUBELET_SIZE}",
            "TRANSFORMER_WIDTH": f"{self.TRANSFORMER_DEPTH}x{self.TRANSFORMER_WIDTH}",
            "UNET_WIDTH": f"/{self.UNET_PATCH_SIZE} {self.UNET_LEVELS}x{self.UNET_WIDTH}",
        }
        keys = model_keys(self.MODEL_ARCHITECTURE)
        return " ".join([self.MODEL_ARCHITECTURE, *(size for key, size in sizes.items() if key in keys)])

    @property
    def INPUT_SHAPE(self) -> tuple[int, int, int, int]:
        """(channels, frames, height, width) of the backbone's input, pixels or latents; derived, so none disagrees."""
        channels, cell = self.LATENT or (3, 1)
        return (channels, self.NUM_FRAMES, self.IMAGE_SIZE // cell, self.IMAGE_SIZE // cell)

    @property
    def CLIP_SHAPE(self) -> tuple[int, int, int, int]:
        """(3, frames, height, width) of a clip in pixels."""
        return (3, self.NUM_FRAMES, self.IMAGE_SIZE, self.IMAGE_SIZE)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, as a checkpoint stores them."""
        return dataclasses.asdict(self)


_NAMES = [field.name for field in dataclasses.fields(Config)]
MODEL_KEYS = tuple(_NAMES[_NAMES.index("MODEL_ARCHITECTURE") : _NAMES.index("STANDARDISE_TEXT") + 1])
"""Settings that a trained model was built with: one group of the above."""

_SHARED = ("TUBELET_", "TRANSFORMER_")  # beginnings of the sizes of an architecture that has none of its own
_OWN = {"tinyfusion": ("TINYFUSION_",), "unet3d": ("UNET_",)}  # architecture -> beginnings of its sizes


def model_keys(architecture: str) -> tuple[str, ...]:
    """The model keys that matter to ``architecture``: a checkpoint and the config must agree on them."""
    read = _OWN.get(architecture, _SHARED)
    others = tuple(each for sizes in (_SHARED, *_OWN.values()) for each in sizes if each not in read)
    return tuple(key for key in MODEL_KEYS if not key.startswith(others))


def field_types() -> dict[str, Any]:
    """Name -> annotation of every setting, in the order of declaration."""
    return get_type_hints(Config, include_extras=True)


def make_config(preset: str = "default", overrides: dict[str, Any] | None = None) -> Config:
    """The values of this file, then the preset's, then ``overrides`` (name -> value or its text).

    Raises:
        ConfigError: unknown preset or key (the nearest is suggested), wrong type, outside the limits.
    """
    if preset not in PRESETS:
        raise ConfigError(f"There is no preset {preset!r}.{nearest(preset, PRESETS)} Presets: {', '.join(PRESETS)}.")
    values = {**PRESETS[preset], **(overrides or {})}
    types = field_types()
    for key in values:
        if key not in types:
            raise ConfigError(f"There is no setting {key!r}.{nearest(key, types)} See: python main.py config")
    return Config(**{key: parse_value(key, value) for key, value in values.items()})


def parse_assignments(assignments: list[str]) -> dict[str, str]:
    """``["SEED=7"]`` -> ``{"SEED": "7"}``.

    Raises:
        ConfigError: an item without ``=``.
    """
    pairs = {}
    for item in assignments:
        key, sign, value = item.partition("=")
        if not sign:
            raise ConfigError(f"--set {item!r} has no '='; wanted KEY=VALUE, for example --set SEED=7.")
        pairs[key.strip()] = value.strip()
    return pairs


def parse_value(name: str, value: Any) -> Any:
    """Text from the command line -> the setting's type; other values pass through."""
    if not isinstance(value, str) or base_type(field_types()[name]) is str:
        return value
    text = {"true": "True", "false": "False"}.get(value.lower(), value)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # all that literal_eval is known for
        return value  # check_value names the type that was wanted


def from_dict(values: dict[str, Any]) -> Config:
    """The inverse of ``Config.to_dict``; keys that this version does not know are an error.

    Raises:
        ConfigError: as ``make_config``.
    """
    return make_config("default", values)


def differences(config: Config, base: Config) -> dict[str, tuple[Any, Any]]:
    """Name -> (value in ``base``, value in ``config``) of the settings that differ."""
    ours, theirs = config.to_dict(), base.to_dict()
    return {key: (theirs[key], value) for key, value in ours.items() if theirs[key] != value}
