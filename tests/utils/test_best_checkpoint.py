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


def test_a_saved_state_carries_its_validation_loss_and_the_lowest_is_kept_as_best(debug_config: MakeConfig) -> None:
    config = debug_config(VALIDATION_FRACTION=0.25, NUM_EPOCHS=4, SAMPLE_EVERY_EPOCHS=0, KEEP_CHECKPOINTS=0)
    assert Trainer(config).run()
    lines = (Path(config.LOG_DIR) / "debug" / "metrics.jsonl").read_text().splitlines()
    told = [value for line in lines for name, value in json.loads(line).items() if name.endswith("validation_loss")]
    saved = [checkpoint.load(path)["validation_loss"] for path in checkpoint_list.numbered(config).values()]
    assert len(saved) == 4 and saved == pytest.approx(told, rel=1e-6)
    best = checkpoint.load(checkpoint_list.best_path(config))
    assert best["validation_loss"] == min(saved) and best["epoch"] == 1 + saved.index(min(saved))


def test_a_state_that_was_not_validated_says_so(debug_config: MakeConfig) -> None:
    config = debug_config(VALIDATION_FRACTION=0.25, VALIDATE_EVERY_EPOCHS=2, NUM_EPOCHS=3, SAMPLE_EVERY_EPOCHS=0)
    assert Trainer(config).run()
    saved = [checkpoint.load(path)["validation_loss"] for path in checkpoint_list.numbered(config).values()]
    assert [loss is None for loss in saved] == [True, False, True]
    assert checkpoint.load(checkpoint_list.best_path(config))["epoch"] == 2
