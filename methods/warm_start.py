"""Where the backbone's first weights come from, and which of them are trained."""

from __future__ import annotations

import sys
from pathlib import Path

from config import Config, ConfigError, UserError
from diffusion.text2sign import Text2Sign
from external.TinyFusion.weights import load_published, read_published


class TrainingError(UserError):
    """Training cannot go on: nothing to train, or the numbers have broken down."""


def initialise_backbone(model: Text2Sign, config: Config) -> None:
    """Published weights into a fresh TinyFusion backbone, or a plain word that it starts from scratch.

    Raises:
        ConfigError: the weights are required and absent.
        WeightsError: the file does not fit.
    """
    if config.MODEL_ARCHITECTURE != "tinyfusion":
        return
    path = Path(config.TINYFUSION_CHECKPOINT)
    if config.TINYFUSION_INIT == "pretrained" and not path.is_file():
        raise ConfigError(
            f"TINYFUSION_INIT=pretrained but {path} does not exist. See pretrained/README.md for its source, "
            "or train from scratch: --set TINYFUSION_INIT=scratch"
        )
    if config.TINYFUSION_INIT == "scratch" or not path.is_file():
        absent = "" if config.TINYFUSION_INIT == "scratch" else f" ({path} is absent; see pretrained/README.md)"
        print(f"backbone: {config.TINYFUSION_VARIANT} from scratch{absent}", file=sys.stderr)
        return
    report = load_published(model.backbone.dit, read_published(path), source=str(path))
    model.backbone.text.silence()
    print(f"backbone: {config.TINYFUSION_VARIANT} from {path}\n{report}", file=sys.stderr)


def freeze_backbone(model: Text2Sign, *, frozen: bool) -> None:
    """``frozen`` leaves only what is not the published transformer trainable.

    Raises:
        TrainingError: nothing is left to train.
    """
    if frozen:
        model.backbone.dit.blocks.requires_grad_(False)
        model.backbone.dit.t_embedder.requires_grad_(False)
    if not any(p.requires_grad for p in model.parameters()):
        raise TrainingError("No trainable parameters. Set TINYFUSION_FREEZE_BACKBONE = False in config.py.")
