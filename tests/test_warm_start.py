"""methods/warm_start.py: first weights, and what is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from config import Config, ConfigError
from methods.optimisation import make_optimizer
from methods.trainer import Trainer
from methods.warm_start import TrainingError, freeze_backbone, initialise_backbone
from models.text_encoder import TextEncoder
from tests.test_trainer import advance, weights

MakeConfig = Callable[..., Config]


def test_a_frozen_backbone_stays_and_the_rest_learns(debug_config: MakeConfig) -> None:
    trainer = Trainer(debug_config(TINYFUSION_FREEZE_BACKBONE=True, LEARNING_RATE=1e-2))
    before = weights(trainer)
    advance(trainer, 3)
    changed = {name for name, value in weights(trainer).items() if not torch.equal(value, before[name])}
    assert changed and not any(".dit.blocks." in name or ".t_embedder." in name for name in changed)
    assert any(".final_layer." in name for name in changed) and any(".adapters." in name for name in changed)


def test_a_run_without_trainable_parameters_is_refused_with_the_cure(
    debug_config: MakeConfig, encoder: TextEncoder
) -> None:
    from diffusion.text2sign import create_text2sign

    model = create_text2sign(debug_config(), encoder)
    model.requires_grad_(False)
    with pytest.raises(TrainingError, match="No trainable parameters. Set TINYFUSION_FREEZE_BACKBONE = False"):
        freeze_backbone(model, frozen=True)
    assert make_optimizer(create_text2sign(debug_config(), encoder), debug_config()).param_groups


def test_weights_that_are_required_and_absent_are_an_error_and_otherwise_announced(
    debug_config: MakeConfig, encoder: TextEncoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from diffusion.text2sign import create_text2sign

    absent = str(tmp_path / "none.pt")
    config = debug_config(TINYFUSION_INIT="auto", TINYFUSION_CHECKPOINT=absent)
    model = create_text2sign(config, encoder)
    initialise_backbone(model, config)
    assert f"from scratch ({absent} is absent" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="TINYFUSION_INIT=pretrained but .* does not exist"):
        initialise_backbone(model, debug_config(TINYFUSION_INIT="pretrained", TINYFUSION_CHECKPOINT=absent))
