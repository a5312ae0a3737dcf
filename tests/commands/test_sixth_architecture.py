"""One file, one line, one word: a backbone that this project has never seen goes through all that the five do."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Literal, get_args

import pytest
import torch
from torch.distributed import HashStore, destroy_process_group, init_process_group

import config as settings
from diffusion.text2sign import ARCHITECTURES, create_text2sign
from main import main
from methods.planning.memory import Place
from methods.planning.seconds import measure_speed, one_block
from methods.training.distributed import is_sharded, shard
from models.text_features import TextFeatures
from tests.conftest import command_settings
from utils.checkpoints import file as checkpoint

BRIEF = {"NUM_EPOCHS": 1, "SAMPLE_EVERY_EPOCHS": 0, "RANK_EVERY_EPOCHS": 0, "LOG_DETAILS_EVERY_EPOCHS": 1}

THE_FILE = '''
import torch
from torch import nn
from models.architecture import Architecture, num_members
from models.layers.adapters import Conditioning


class Sixth(nn.Module):
    """Convolutions over time, shifted by what the clip is conditioned on."""

    def __init__(self, width, depth, *, text_width, num_steps):
        super().__init__()
        self.conditioning = Conditioning(text_width, width, width, num_steps=num_steps)
        self.inlet = nn.Conv3d(3, width, 1)
        self.blocks = nn.ModuleList(nn.Conv3d(width, width, (3, 1, 1), padding=(1, 0, 0)) for _ in range(depth))
        self.outlet = nn.Conv3d(width, 3, 1)

    def forward(self, x_t, t, text):
        c, tokens = self.conditioning(t, text)
        c = c + (tokens * text.mask[..., None]).mean(1)
        x = self.inlet(x_t)
        for block in self.blocks:
            x = x + block(torch.tanh(x + c[:, :, None, None, None]))
        return self.outlet(x)


def build_sixth(config, *, text_width, alphas_cumprod):
    sizes = (config.TRANSFORMER_WIDTH, config.TRANSFORMER_DEPTH)
    return Sixth(*sizes, text_width=text_width, num_steps=len(alphas_cumprod))


def read_sixth(shapes):
    return {"TRANSFORMER_WIDTH": shapes["inlet.weight"][0], "TRANSFORMER_DEPTH": num_members(shapes, "blocks")}


ARCHITECTURE = Architecture(build=build_sixth, read=read_sixth)
'''


@pytest.fixture
def sixth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file, the line and the word, for the length of a test."""
    (tmp_path / "sixth.py").write_text(THE_FILE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sixth", raising=False)
    monkeypatch.setitem(ARCHITECTURES, "sixth", importlib.import_module("sixth").ARCHITECTURE)
    monkeypatch.setattr(settings, "Architecture", Literal[(*get_args(settings.Architecture), "sixth")])


def debug_config() -> settings.Config:
    return settings.make_config("debug", {"MODEL_ARCHITECTURE": "sixth"})


@pytest.mark.usefixtures("sixth")
def test_it_is_trained_listed_sampled_and_recognised_without_its_settings(
    tmp_path: Path, clips_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = command_settings(tmp_path / "run", clips_folder, MODEL_ARCHITECTURE="sixth", **BRIEF)
    assert main(["train", *chosen]) == 0 and main(["checkpoints", *chosen]) == 0
    assert "sixth 2x4 3x64" in capsys.readouterr().out
    path = tmp_path / "run" / "checkpoints" / "debug" / "latest_checkpoint.pt"
    assert main(["sample", "--checkpoint", str(path), "--text", "hello", "--output", str(tmp_path / "clips")]) == 0
    assert len(list((tmp_path / "clips").glob("*.gif"))) == 1

    torch.save({"model": checkpoint.load(path)["model"]}, tmp_path / "lost.pt")
    copy = Path(shutil.copy(settings.__file__, tmp_path / "config.py"))
    capsys.readouterr()
    assert main(["fix-config", "--checkpoint", str(tmp_path / "lost.pt"), "--file", str(copy)]) == 0
    assert "tensors are those of sixth" in (said := capsys.readouterr().out)
    assert "see for yourself: TUBELET_FRAMES, TUBELET_SIZE, NUM_FRAMES" in said  # its reader shows no tubelets
    text = copy.read_text()
    assert 'MODEL_ARCHITECTURE: Architecture = "sixth"' in text and "TRANSFORMER_DEPTH: Count = 3 " in text


@pytest.mark.usefixtures("sixth")
def test_its_step_is_planned_from_one_of_its_blocks() -> None:
    place = Place(torch.device("cpu"), True, None)
    assert len(one_block(debug_config(), place, text_width=24).backbone.blocks) == 1
    speed = measure_speed(debug_config(), place, text_width=24, num_tokens=8)
    assert speed.share is not None and speed.matmul_rate > 0


@pytest.mark.usefixtures("sixth")
def test_it_is_sharded_block_by_block_and_computes_the_same() -> None:
    backbone = create_text2sign(debug_config(), SimpleNamespace(width=24)).backbone
    units = ARCHITECTURES["sixth"].units(backbone)
    assert units == [[block] for block in backbone.blocks] and len(units) == 3
    text = TextFeatures(torch.ones(2, 5, 24), torch.ones(2, 5, dtype=torch.bool), torch.ones(2, 24))
    inputs = (torch.randn(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(1)), torch.tensor([3, 40]), text)
    with torch.no_grad():
        wanted = backbone(*inputs)
        init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
        try:
            shard(backbone, torch.device("cpu"), units=units)
            assert all(is_sharded(parameter) for parameter in backbone.parameters())
            torch.testing.assert_close(backbone(*inputs), wanted)
        finally:
            destroy_process_group()
