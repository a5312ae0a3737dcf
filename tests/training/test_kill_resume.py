"""kill -9 and resume, the short version of ``python -m benchmarks.kill_resume``: nothing is lost, nothing differs."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.kill_resume import PHASES, digest, partials, phase_of, what_is_left
from config import Config, from_dict
from methods.trainer import Trainer
from tests.utils.test_checkpoint import content
from utils.checkpoints import file as checkpoint
from utils.checkpoints import listing as checkpoint_list
from utils.checkpoints.file import latest_path

MakeConfig = Callable[..., Config]
SETTINGS = {
    "DETERMINISTIC": True, "BATCH_SIZE": 1, "GRADIENT_ACCUMULATION_STEPS": 2, "EMA_EVERY": 2, "LR_DECAY": "cosine",
    "SAVE_EVERY_EPOCHS": 1, "NUM_EPOCHS": 8, "SAMPLE_EVERY_EPOCHS": 0, "VALIDATE_EVERY_EPOCHS": 0,
    "RANK_EVERY_EPOCHS": 0, "LOG_DETAILS_EVERY_EPOCHS": 0,
}  # fmt: skip


def live(settings: dict[str, Any], moment: str) -> None:
    """A process's whole life: start or resume, train to the end, or to the moment when the first file or the folder of
    checkpoints is flushed to disk: a checkpoint is written and has no name yet; it has its name, and no other names."""
    sys.stderr = sys.stdout = open(os.devnull, "w")  # a progress bar of somebody who is about to die
    torch.set_num_threads(1)
    flush = os.fsync

    config = from_dict(settings)
    latest = latest_path(config)

    def flush_or_die(opened: int) -> None:
        ours = [("folder", latest.parent), *(("file", path) for path in partials(config))]
        if any(moment == kind and os.path.samestat(os.fstat(opened), path.stat()) for kind, path in ours):
            os.kill(os.getpid(), signal.SIGKILL)
        flush(opened)

    os.fsync = flush_or_die
    Trainer(config, resume=latest if latest.exists() else None).run()


def saved_at(config: Config) -> int:
    """When the latest state was written, ns; 0 if none was."""
    latest = latest_path(config)
    return latest.stat().st_mtime_ns if latest.exists() else 0


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 and fork are of POSIX")
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(
    debug_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice at a random moment after a save, twice in the middle of one. Processes come from a server that has torch
    loaded; starting Python anew for each is the benchmark's."""
    whole = debug_config(EXPERIMENT_NAME="whole", KEEP_CHECKPOINTS=0, **SETTINGS)
    Trainer(whole).run()
    reference = {epoch: digest(checkpoint.load(path)) for epoch, path in checkpoint_list.numbered(whole).items()}
    assert len(set(reference.values())) == SETTINGS["NUM_EPOCHS"]
    config = debug_config(EXPERIMENT_NAME="killed", KEEP_CHECKPOINTS=2, **SETTINGS)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))  # for what the server loads
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.training.test_kill_resume"])
    exits: list[int | None] = []
    for moment in ("any", "file", "folder", "any", "none"):
        last_saved = saved_at(config)
        process = processes.Process(target=live, args=(config.to_dict(), moment))
        process.start()
        if moment == "any":
            while process.is_alive() and saved_at(config) == last_saved:
                time.sleep(0.0005)
            time.sleep(random.Random(last_saved).uniform(0.0, 0.1))
            process.kill()
        process.join()
        exits.append(process.exitcode)
        assert what_is_left(config, reference) in [f"epoch {epoch}" for epoch in reference]
        assert len(partials(config)) == 1 or moment != "file" or exits[-1] == 0
    assert exits[-1] == 0 and exits.count(-signal.SIGKILL) >= 1 and set(exits) <= {0, -signal.SIGKILL}  # slow machines
    assert what_is_left(config, reference) == f"epoch {SETTINGS['NUM_EPOCHS']}" and partials(config) == []
    assert list(checkpoint_list.numbered(config)) == [SETTINGS["NUM_EPOCHS"] - 1, SETTINGS["NUM_EPOCHS"]]


def test_the_digest_tells_any_change_of_the_state_and_nothing_else() -> None:
    same = digest(content())
    assert digest(content(config={}, validation_loss=None, data={})) == same
    changed: list[dict[str, Any]] = [
        {"step": 1235},
        {"model": {"weight": torch.arange(6.0).reshape(2, 3), "half": torch.ones(2)}},  # another type
        {"model": {"weight": torch.arange(6.0).reshape(3, 2), "half": torch.ones(2, dtype=torch.bfloat16)}},
        {"ema": {"weight": -torch.zeros(2, 3)}},  # equal, and yet other bytes
        {"ema": {"other": torch.zeros(2, 3)}},
        {"optimizer": {"state": {0: {"step": torch.tensor(8.0)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]}},
        {"optimizer": {"state": {0: {"step": torch.tensor(7.0)}}, "param_groups": [{"lr": 2e-3, "params": [0]}]}},
    ]
    assert len({same, *(digest(content(**change)) for change in changed)}) == 1 + len(changed)


def test_a_stack_names_its_phase(tmp_path: Path) -> None:
    line = '  File "{}", line 1 in {}\n'
    trainer = line.format("/x/methods/trainer.py", "train_step") + line.format("/x/methods/trainer.py", "run")
    assert phase_of("") == "starting Python"
    assert phase_of(line.format("/x/torch/optim.py", "step") + trainer) == "forward or backward"
    assert phase_of(line.format("/x/methods/trainer.py", "_update") + trainer) == "in the optimiser step"
    assert phase_of(line.format("/x/utils/checkpoints/file.py", "save") + trainer) == "writing a checkpoint"
    assert set(PHASES) >= {"logging", "building or restoring"}
