"""benchmarks/gpu.py, rehearsed on the CPU at debug size, so that a GPU's only minutes are not lost to a typo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu, gpu_training, limits, timing
from benchmarks.gpu import ROWS, Row, guarded, run
from benchmarks.gpu_rows import Absent, Bench

STARTS_PROCESSES = ("first clip", "many processes")  # 15 CPU seconds: python -m benchmarks.gpu --rehearse runs them


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is run, and nothing measured long enough to be a figure."""
    monkeypatch.setattr(timing, "BRIEF", 0.0)
    monkeypatch.setattr(limits, "SIDES", {"cpu": (16,)})
    monkeypatch.setattr(limits, "COPY_BYTES", {"cpu": 2**10})
    monkeypatch.setattr(limits, "BURST", 0.0)
    monkeypatch.setattr(gpu_training, "FOR_MEASURES", 0)


def bench(folder: Path, *, deadline: float = float("inf"), rehearse: bool = True) -> Bench:
    return Bench(device=torch.device("cpu"), rehearse=rehearse, folder=folder, deadline=deadline)


def test_every_row_within_this_process_runs_and_none_fails(brief: None, tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    names = [name for name in ROWS if name not in STARTS_PROCESSES]
    given = ["--rehearse", "--repeats", "1", "--train-seconds", "1", "--output", str(tmp_path), "--rows", *names]
    assert gpu.main([*given, "--set", "LEARNING_RATE=1e-2"]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert list(found["rows"]) == names and found["rehearsal"] is True
    assert found["rows"]["numerics"]["float32 against the CPU"]["gradient"] == 0
    assert found["rows"]["latents"]["latents"] == [4, 4, 2, 2]
    ways = found["rows"]["one process"]
    assert ways["alone"]["loss"] == ways["ddp"]["loss"] == ways["fsdp"]["loss"]
    assert found["rows"]["camera measured"]["parts"]["train"]["motion"]["moving_psnr"] > 0


def test_a_row_that_fails_is_told_and_the_next_one_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(bench: Bench) -> dict[str, Any]:
        raise RuntimeError("no kernel image is available")

    def absent(bench: Bench) -> dict[str, Any]:
        raise Absent("one GPU is here")

    rows = {"bad": fails, "not here": absent, "good": lambda bench: {"seconds": 0.5}}
    monkeypatch.setattr(gpu, "ROWS", {name: Row(measure, 0) for name, measure in rows.items()})
    written: list[list[str]] = []
    found = run(bench(tmp_path), list(rows), lambda result: written.append(list(result["rows"])))
    assert found["bad"]["error"] == "RuntimeError: no kernel image is available"
    assert found["bad"]["trace"][-1] == found["bad"]["error"]
    assert found["not here"]["absent"] == "one GPU is here" and found["good"]["seconds"] == 0.5
    assert written == [["bad"], ["bad", "not here"], ["bad", "not here", "good"]]  # after each


def test_a_row_without_enough_time_is_skipped_and_says_so(tmp_path: Path) -> None:
    late = bench(tmp_path, deadline=0.0, rehearse=False)
    assert guarded(Row(lambda bench: {}, 15), late) == {"skipped": "0 s of the budget are left; wanted 15"}
    assert guarded(Row(lambda bench: {}, 15), bench(tmp_path)) == {}
