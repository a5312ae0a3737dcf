"""Every architecture's whole life on MPS and on CUDA, played on the CPU (``played.py``): nothing of it may use what the
device refuses. At debug size numbers are real; at the default's, fake.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from config import make_config
from dataset import load_dataset
from diffusion.text2sign import ARCHITECTURES
from main import main
from methods.evaluation.evaluator import evaluate
from methods.planning.tensors import TrainingTensors, empty_model, sample
from methods.sampling.loading import load_model
from models.text_encoder import TextEncoder
from tests.conftest import command_settings
from tests.devices.played import Played, playing

NAMES = sorted(ARCHITECTURES)
GIB = 2**30
EVERYTHING = {
    "LOG_DETAILS_EVERY_EPOCHS": 1,
    "VALIDATE_EVERY_EPOCHS": 2,
    "RANK_EVERY_EPOCHS": 2,
    "SAMPLE_EVERY_EPOCHS": 2,
}


@pytest.fixture
def mps(monkeypatch: pytest.MonkeyPatch, encoder: TextEncoder) -> None:
    """What this torch cannot say of a device that is not here. The encoder's libraries must be imported before."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for name in ("current_allocated_memory", "driver_allocated_memory", "recommended_max_memory"):
        monkeypatch.setattr(torch.mps, name, lambda: GIB)
    for name in ("synchronize", "empty_cache"):
        monkeypatch.setattr(torch.mps, name, lambda: None)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch, encoder: TextEncoder) -> None:
    """An older GPU, where ``auto`` takes float16."""
    said = {"is_available": True, "device_count": 1, "get_device_capability": (7, 5), "get_device_name": "played"}
    said |= {name: GIB for name in ("memory_allocated", "max_memory_allocated", "memory_reserved")}
    for name, value in {**said, "synchronize": None, "empty_cache": None, "set_device": None}.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value, **__: value)
    monkeypatch.setattr(torch.optim.Optimizer, "_accelerator_graph_capture_health_check", lambda self: None)


def losses(run: Path) -> list[float]:
    lines = (run / "logs" / "debug" / "metrics.jsonl").read_text().splitlines()
    return [found["01_Training/loss"] for line in lines if "01_Training/loss" in (found := json.loads(line))]


def go(device: str, name: str, folder: Path, clips: Path, **overrides: object) -> list[float]:
    """Train with everything that is logged and shown, resume, sample; the losses of the steps, one for each epoch
    unless ``overrides`` say otherwise."""
    chosen = {"MODEL_ARCHITECTURE": name, "NUM_EPOCHS": 1, "BATCH_SIZE": 8, "UNET_PATCH_SIZE": 4}
    chosen |= {**EVERYTHING, **overrides}
    path = folder / "checkpoints" / "debug" / "latest_checkpoint.pt"
    with playing(device):
        assert main(["train", *command_settings(folder, clips, **chosen, DEVICE=device)]) == 0
        more = command_settings(folder, clips, **{**chosen, "NUM_EPOCHS": 2}, DEVICE=device)
        assert main(["train", "--resume", *more]) == 0
        assert main(["sample", "--checkpoint", str(path), "--text", "hello", "--output", str(folder / "clips")]) == 0
    assert len(list((folder / "clips").glob("*.gif"))) == 1
    found = losses(folder)
    assert torch.load(path, weights_only=True)["step"] == len(found)  # plain tensors, for whoever has no such device
    return found


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_resumes_and_samples_on_mps(
    name: str, mps: None, trained_run: Path, tmp_path: Path, clips_folder: Path
) -> None:
    """With the losses of the CPU, as far as the shared run of the debug preset says."""
    is_shared = name == "tinyfusion"
    found = go("mps", name, tmp_path, clips_folder, **({"BATCH_SIZE": 2} if is_shared else {}))
    assert len(found) == (8 if is_shared else 2)
    if is_shared:
        assert found == pytest.approx(losses(trained_run), rel=1e-4)


def test_it_is_evaluated_on_mps(mps: None, learnt_checkpoint: Path, tmp_path: Path) -> None:
    with playing("mps"):
        loaded = load_model(learnt_checkpoint, {"DEVICE": "mps"})
        quick = {"max_clips": 2, "clips_per_caption": 1, "recogniser_steps": 2}
        evaluate(loaded, load_dataset(loaded.config), folder=tmp_path / "report", **quick)
    assert (tmp_path / "report" / "evaluation.json").is_file()


def test_it_trains_resumes_and_samples_in_fp16_on_cuda(cuda: None, tmp_path: Path, clips_folder: Path) -> None:
    go("cuda", "tinyfusion", tmp_path, clips_folder, MIXED_PRECISION="auto")
    stored = torch.load(tmp_path / "checkpoints" / "debug" / "latest_checkpoint.pt", weights_only=True)
    assert stored["scaler"]["scale"] > 0  # a real GradScaler was at work


def move(model: nn.Module) -> None:
    """Parameters and buffers to the played device; ``Module.to`` cannot exchange fake ones."""
    for module in model.modules():
        for name, p in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(Played(p.detach()), requires_grad=p.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = Played(buffer)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_and_a_sample_at_the_default_size_use_only_what_mps_has(name: str) -> None:
    """With three of its like blocks (one on each side of a middle), where their number is a setting."""
    chosen = {"MODEL_ARCHITECTURE": name, "NUM_FRAMES": 2, "EMA_DEVICE": "model", "TRANSFORMER_DEPTH": 3}
    config = make_config("default", chosen)
    with FakeTensorMode(), playing("mps"):
        model = empty_model(config, text_width=384, device=torch.device("cpu"), dtype=None)
        move(model)
        run = TrainingTensors(config, model, num_tokens=8, averages_here=True)
        run.step()
        sample(model.eval(), config, num_clips=2, num_tokens=8)
        assert all(p.device.type == "mps" and p.inner.device.type == "cpu" for p in model.parameters())
