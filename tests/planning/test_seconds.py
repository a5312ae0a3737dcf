"""methods/planning/seconds.py: slices, and the speed that they are timed for."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from config import make_config
from diffusion.text2sign import ARCHITECTURES
from methods.planning.memory import Place, TrainingPlan, plan_training
from methods.planning.seconds import Speed, materialised, measure_speed, one_block, slices
from methods.planning.trace import Peak

CPU = Place(torch.device("cpu"), True, None)
SIZES = {"text_width": 384, "num_tokens": 8}


def of_flops(num_flops: float) -> TrainingPlan:
    return TrainingPlan(10, 10, Peak(0, "forward", {}), 0, num_flops)


def test_seconds_are_operations_over_the_rate_that_is_reached() -> None:
    speed = Speed(matmul_rate=100.0, share=0.5, update_seconds=0.1)
    assert speed.floor(of_flops(200.0)) == 2.0
    assert speed.expected(of_flops(200.0)) == pytest.approx(4.0 + 10 * 0.1)
    assert Speed(matmul_rate=100.0).expected(of_flops(200.0)) is None


def test_slices_have_ever_fewer_clips_then_frames() -> None:
    config = make_config(
        "debug", {"MODEL_ARCHITECTURE": "dit3d", "BATCH_SIZE": 5, "NUM_FRAMES": 24, "GRADIENT_ACCUMULATION_STEPS": 3}
    )
    found = list(slices(config))
    assert [(part.BATCH_SIZE, part.NUM_FRAMES) for part in found] == [(5, 24), (2, 24), (1, 24), (1, 12), (1, 6)]
    assert {part.GRADIENT_ACCUMULATION_STEPS for part in found} == {1}


def test_a_slice_keeps_whole_tubelets() -> None:
    config = make_config(
        "debug", {"MODEL_ARCHITECTURE": "vit3d", "BATCH_SIZE": 1, "NUM_FRAMES": 24, "TUBELET_FRAMES": 4}
    )
    assert [part.NUM_FRAMES for part in slices(config)] == [24, 12]


@pytest.mark.parametrize(
    ("architecture", "lists"),
    [
        ("tinyfusion", {"dit.blocks": 1, "adapters": 1}),
        ("vivit", {"blocks": 1}),
        ("vit3d", {"down": 1, "middle": 1, "up": 1}),  # the skip stays, and what lies between at an odd depth
        ("dit3d", {"blocks": 1, "text_attention": 1}),
        ("unet3d", {"down": 2, "up": 2}),  # all of it: no two stages are alike
    ],
)
def test_a_slice_has_one_of_each_kind_of_block(architecture: str, lists: dict[str, int]) -> None:
    config = make_config("debug", {"MODEL_ARCHITECTURE": architecture})
    with FakeTensorMode():
        backbone = one_block(config, CPU, text_width=384).backbone
    assert {name: len(backbone.get_submodule(name)) for name in lists} == lists


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_slice_gets_memory_of_its_own_and_can_be_run(architecture: str) -> None:
    config = make_config("debug", {"MODEL_ARCHITECTURE": architecture})
    with FakeTensorMode():
        model = one_block(config, CPU, text_width=384)
    materialised(model, torch.device("cpu"))
    tensors = [*model.parameters(), *model.buffers()]
    assert tensors and not any(isinstance(tensor, FakeTensor) for tensor in tensors)
    assert all(bool(tensor.isfinite().all()) for tensor in tensors)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_share_of_the_matmul_rate_is_measured(architecture: str) -> None:
    config = make_config("debug", {"MODEL_ARCHITECTURE": architecture, "UNET_LEVELS": 1})
    speed = measure_speed(config, CPU, **SIZES)
    assert speed.share is not None and 0 < speed.share < 1
    assert speed.update_seconds > 0
    plan = plan_training(config, CPU, **SIZES)
    assert 0 < speed.floor(plan) < speed.expected(plan)


def test_of_a_config_whose_smallest_slice_takes_too_long_none_is_timed() -> None:
    config = make_config("default", {"MODEL_ARCHITECTURE": "dit3d", "IMAGE_SIZE": 1024})
    speed = measure_speed(config, CPU, **SIZES)
    assert speed.share is None and speed.matmul_rate > 0
