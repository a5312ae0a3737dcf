"""benchmarks/compiled.py: which parts of a backbone count as its blocks."""

from __future__ import annotations

import pytest
from torch import nn

from benchmarks.compiled import blocks
from benchmarks.workload import preset
from diffusion.text2sign import ARCHITECTURES


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_blocks_of_every_architecture_are_found(architecture: str) -> None:
    backbone = preset("debug", DEVICE="cpu", MODEL_ARCHITECTURE=architecture).model.backbone
    found = list(blocks(backbone))
    assert len(found) >= 2 and not any(isinstance(block, nn.ModuleList) for block in found)
    inside = sum(p.numel() for block in found for p in block.parameters())
    assert inside > 0.5 * sum(p.numel() for p in backbone.parameters())
