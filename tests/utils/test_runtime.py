"""utils/runtime.py: full memory as one line, whatever the device."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from main import main
from models.architectures.tinyfusion import TinyFusionVideo
from tests.conftest import command_settings, files_below
from utils.runtime import MemoryFullError, enough_memory
from verify_training_ready import main as verify

MPS = "MPS backend out of memory (MPS allocated: 9.05 GB, other allocations: 1.00 MB, max allowed: 9.07 GB). Tried to "
MPS += "allocate 512.00 MB on private pool. Use PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0 to disable upper limit"
FULL = {
    "CUDA": (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"), "2.00 GiB more"),
    "the driver": (RuntimeError("CUDA error: out of memory"), "no more was to be had"),
    "cuBLAS": (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "no more"),
    "MPS": (RuntimeError(MPS), "512.00 MB more"),
    "Windows": (
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1073741824 bytes."), "1.00 GiB more"
    ),
    "Python": (MemoryError(), "no more was to be had"),
}  # fmt: skip


@pytest.mark.parametrize(("error", "found"), FULL.values(), ids=FULL)
def test_full_memory_is_one_line_with_its_cure(error: Exception, found: str) -> None:
    with pytest.raises(MemoryFullError, match=f"^The memory is full: {found}.* Lower it.$"), enough_memory("Lower it."):
        raise error


def test_any_other_error_passes() -> None:
    for error in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), KeyboardInterrupt(), ValueError("memory")):
        with pytest.raises(type(error)), enough_memory("Lower it."):
            raise error


@pytest.fixture
def full() -> Iterator[None]:
    """Every backbone wants 128 PiB first, which the real allocator refuses."""

    def want(module: nn.Module, _: object) -> None:
        if isinstance(module, TinyFusionVideo):
            torch.empty(2**55)

    hook = register_module_forward_pre_hook(want)
    yield
    hook.remove()


@pytest.mark.parametrize("command", ["train", "sample", "evaluate", "reproduce", "verify"])
def test_a_command_whose_memory_is_full_tells_a_line_with_the_cure_and_keeps_what_is_there(
    command: str, trained_run: Path, trained_checkpoint: Path, clips_folder: Path, tmp_path: Path, full: None,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    clip = next(trained_run.rglob("previews/*step000008*.gif"))
    shutil.copytree(trained_run, tmp_path, dirs_exist_ok=True)
    settings = command_settings(tmp_path, clips_folder)
    run, arguments, cure = {
        "train": (main, ["train", "--resume", *settings, "--set", "NUM_EPOCHS=3"], "Lower BATCH_SIZE, and raise"),
        "sample": (main, ["sample", "--text", "no", "--num_samples", "9", *settings], "Lower --batch_size (now 8)"),
        "evaluate": (main, ["evaluate", *settings], "Lower --batch_size (now 8), or"),
        "reproduce": (main, ["reproduce", str(clip), "--checkpoint", str(trained_checkpoint)], "in a batch of 1"),
        "verify": (verify, settings, "Take a smaller model"),
    }[command]
    before = files_below(tmp_path / "checkpoints")
    assert run(arguments) == (1 if command == "verify" else 2)
    out, err = capsys.readouterr()
    line = next(line for line in (out + err).splitlines() if "The memory is full" in line)
    assert "134,217,728.00 GiB more were wanted at once. " in line and cure in line
    assert "Traceback" not in err and files_below(tmp_path / "checkpoints") == before
