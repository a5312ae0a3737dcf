"""The validation loss on its way from the measurement into the file, and to best_checkpoint.pt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from config import Config
from methods.trainer import Trainer
from utils.checkpoints import file as checkpoint
from utils.checkpoints import listing as checkpoint_list

MakeConfig = Callable[..., Config]
QUIET = {"SAMPLE_EVERY_EPOCHS": 0, "RANK_EVERY_EPOCHS": 0, "LOG_DETAILS_EVERY_EPOCHS": 0, "KEEP_CHECKPOINTS": 0}
VALIDATION = "03_Epoch_Summary/validation_loss"


def test_a_saved_state_carries_its_validation_loss_and_the_lowest_is_kept_as_best(debug_config: MakeConfig) -> None:
    config = debug_config(VALIDATION_FRACTION=0.25, NUM_EPOCHS=4, **QUIET)
    assert Trainer(config).run()
    lines = (Path(config.LOG_DIR) / "debug" / "metrics.jsonl").read_text().splitlines()
    told = [value for line in lines for name, value in json.loads(line).items() if name.endswith("validation_loss")]
    saved = [checkpoint.load(path)["validation_loss"] for path in checkpoint_list.numbered(config).values()]
    assert len(saved) == 4 and saved == pytest.approx(told, rel=1e-6)
    best = checkpoint.load(checkpoint_list.best_path(config))
    assert best["validation_loss"] == min(saved) and best["epoch"] == 1 + saved.index(min(saved))


def test_a_state_that_was_not_validated_says_so(debug_config: MakeConfig) -> None:
    config = debug_config(VALIDATION_FRACTION=0.25, VALIDATE_EVERY_EPOCHS=2, NUM_EPOCHS=3, **QUIET)
    assert Trainer(config).run()
    saved = [checkpoint.load(path)["validation_loss"] for path in checkpoint_list.numbered(config).values()]
    assert [loss is None for loss in saved] == [True, False, True]
    assert checkpoint.load(checkpoint_list.best_path(config))["epoch"] == 2


def test_the_best_validated_state_is_kept_at_whatever_epochs_states_are_saved(debug_config: MakeConfig) -> None:
    """Saved every 3rd epoch, validated every 2nd, as the preset ``words`` does with 4 and 10."""
    config = debug_config(
        VALIDATION_FRACTION=0.25,
        NUM_EPOCHS=5,
        SAVE_EVERY_EPOCHS=3,
        VALIDATE_EVERY_EPOCHS=2,
        LEARNING_RATE=1e-3,
        **QUIET,
    )
    assert Trainer(config).run()
    lines = map(json.loads, (Path(config.LOG_DIR) / "debug" / "metrics.jsonl").read_text().splitlines())
    told = {line["step"]: line[VALIDATION] for line in lines if VALIDATION in line}
    lowest = min(told, key=told.get)
    best = checkpoint.load(checkpoint_list.best_path(config))
    assert len(told) == 2 and (best["step"], best["validation_loss"]) == (lowest, pytest.approx(told[lowest], rel=1e-6))
    assert list(checkpoint_list.numbered(config)) == [3]
    assert checkpoint.load(checkpoint.latest_path(config))["epoch"] == 5
