"""methods/planning/memory.py and memory_trace.py: closed forms, real steps, and what each setting does to the peak."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.flops import training_flops
from benchmarks.plan import peak_of_allocations
from config import Config, ConfigError, make_config
from diffusion.residual import PATCH
from diffusion.text2sign import ARCHITECTURES, create_text2sign
from methods.planning.memory import (
    AVERAGES,
    BYTES,
    GRADIENTS,
    MOMENTS,
    TABLES,
    Place,
    TrainingPlan,
    levers,
    place_of,
    plan_sampling,
    plan_training,
)
from methods.planning.tensors import TrainingTensors, empty_model, sample
from methods.planning.trace import COPIES, KEPT, RECOMPUTED, WEIGHTS, WORKING, MemoryTrace
from methods.training.step import FORWARD
from models.encoder_files import EncoderShape
from models.layers.attention import attend
from models.text_encoder import TextEncoder

ROOT = Path(__file__).resolve().parents[2]
LARGER = {"BATCH_SIZE": 8, "NUM_FRAMES": 8, "TINYFUSION_FRAME_CHUNK_SIZE": 8}
CPU, CUDA = (Place(torch.device("cpu"), True, None), Place(torch.device("cuda"), False, torch.bfloat16))
SIZES = {"text_width": 384, "num_tokens": 8}
SMALL = {"UNET_LEVELS": 1}  # tracing takes time for each operator, not for its size
BRIEF = {"MODEL_ARCHITECTURE": "vit3d"}  # the fewest operators, where any architecture will do


@functools.cache
def plan(place: Place = CPU, **overrides: object) -> TrainingPlan:
    """Of the debug preset, all frames in one chunk unless said otherwise: chunks are operators too."""
    return plan_training(make_config("debug", {"TINYFUSION_FRAME_CHUNK_SIZE": 16, **overrides}), place, **SIZES)


def real_training(config: Config, place: Place) -> TrainingTensors:
    model = empty_model(config, text_width=384, device=place.device, dtype=place.dtype)
    return TrainingTensors(config, model, num_tokens=8, averages_here=True)


# ---- The trace ------------------------------------------------------------------------------------------------------


def test_the_trace_sees_births_and_deaths_but_no_views() -> None:
    with FakeTensorMode(), MemoryTrace("cpu") as trace:
        a = torch.zeros(1000)  # 4000 bytes
        b = a.view(10, 100)[2:] + 1  # 3200
        del b
        c = a * 2  # 4000: b is gone
        trace.label([a], "mine")
        found = trace.peak()
    assert (found.num_bytes, found.phase) == (8000, FORWARD)
    assert found.parts == {"mine": 4000, WORKING: 4000}
    assert c.shape == (1000,)


def test_what_the_backward_pass_needs_is_told_from_what_it_does_not() -> None:
    """exp keeps its result; the sum that it is taken of is gone before the backward pass."""
    with FakeTensorMode(), MemoryTrace("cpu") as trace:
        x = torch.zeros(1000, requires_grad=True)
        trace.label([x], WEIGHTS)
        loss = (x + 1).exp().sum()
        trace.phase = "backward"
        loss.backward()
        found = trace.peak()
    assert (found.parts[WEIGHTS], found.parts[KEPT], found.phase) == (4000, 4000, "backward")


def test_products_are_counted_as_two_operations_for_a_multiply_add() -> None:
    with FakeTensorMode(), MemoryTrace("cpu") as trace:
        torch.zeros(3, 5) @ torch.zeros(5, 7)
        torch.zeros(2, 3, 5) @ torch.zeros(2, 5, 7)
    assert trace.num_flops == 2 * 3 * 5 * 7 + 2 * 2 * 3 * 5 * 7


def test_fused_attention_is_counted_on_a_cpu_too() -> None:
    """q k^T and the product with v; backward four such products, and the scores once more."""
    b, h, n, d = 2, 3, 65, 8
    with FakeTensorMode(), MemoryTrace("cpu") as trace:
        q, k, v = (torch.zeros(b, h, n, d, requires_grad=True) for _ in range(3))
        out = attend(q, k, v)
        forward = trace.num_flops
        out.sum().backward()
    product = 2 * b * h * n * n * d
    assert (forward, trace.num_flops - forward) == (2 * product, 5 * product)


# ---- Closed forms ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_stays_from_step_to_step_has_its_closed_form(architecture: str, encoder: TextEncoder) -> None:
    """Four bytes a weight and as many for its average, eight for its moments; a step counter for each tensor."""
    chosen = {**LARGER, **SMALL, "MODEL_ARCHITECTURE": architecture, "GRADIENT_CHECKPOINTING": False}
    model = create_text2sign(make_config("debug", chosen), encoder)
    num = sum(p.numel() for p in model.parameters())
    num_tensors = len(list(model.parameters()))
    found = plan(**chosen)
    parts = found.peak.parts
    buffers = sum(b.nbytes for b in model.buffers())
    assert (found.num_parameters, found.num_trainable) == (num, num)
    assert (parts[WEIGHTS], parts[TABLES]) == (BYTES * num, buffers)
    assert parts[MOMENTS] == 2 * BYTES * num + BYTES * num_tensors
    assert parts[AVERAGES] == BYTES * num
    assert parts.get(GRADIENTS, 0) <= BYTES * num
    assert sum(parts.values()) == found.peak.num_bytes


def test_where_activations_are_small_every_gradient_is_there_at_the_peak() -> None:
    found = plan(BATCH_SIZE=1, NUM_FRAMES=2, TRANSFORMER_WIDTH=512, MODEL_ARCHITECTURE="dit3d", TUBELET_SIZE=16)
    assert found.peak.parts[GRADIENTS] == BYTES * found.num_trainable


def test_averages_on_the_host_are_no_memory_of_the_gpu() -> None:
    on_gpu, on_host = (plan(CUDA, **BRIEF, EMA_DEVICE=where) for where in ("model", "cpu"))
    num_bytes = BYTES * on_gpu.num_trainable
    assert (on_gpu.host_average, on_host.host_average) == (0, num_bytes)
    assert on_gpu.peak.num_bytes - on_host.peak.num_bytes == num_bytes
    assert plan(CPU, **BRIEF, EMA_DEVICE="cpu").host_average == 0  # it is counted where it lies


@pytest.mark.parametrize("where", ["model", "cpu"])
def test_where_nothing_is_averaged_no_memory_is_planned_for_it(where: str) -> None:
    found = plan(CUDA, **BRIEF, EMA_DEVICE=where, EMA_DECAY=0.0)
    assert (found.host_average, AVERAGES in found.peak.parts) == (0, False)


def test_frozen_weights_need_no_gradients_moments_or_averages() -> None:
    found = plan(TINYFUSION_FREEZE_BACKBONE=True)
    assert 0 < found.num_trainable < found.num_parameters
    assert found.peak.parts[AVERAGES] == BYTES * found.num_trainable
    assert found.num_flops < plan().num_flops


# ---- Real steps -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", [None, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_peak_is_that_of_a_real_step(architecture: str, precision: torch.dtype | None) -> None:
    """Measured by torch's profiler on the CPU, from before the model is made."""
    config = make_config("debug", {**SMALL, "MODEL_ARCHITECTURE": architecture, "BATCH_SIZE": 8})
    place = Place(torch.device("cpu"), True, precision)

    def two_steps() -> None:
        training = real_training(config, place)
        for _ in range(2):
            training.step()

    assert plan_training(config, place, **SIZES).peak.num_bytes == pytest.approx(
        peak_of_allocations(two_steps), rel=0.1
    )


def test_the_peak_of_accumulated_gradients_is_that_of_a_real_step() -> None:
    config = make_config("debug", {**BRIEF, "GRADIENT_ACCUMULATION_STEPS": 2, "BATCH_SIZE": 4})
    measured = peak_of_allocations(lambda: real_training(config, CPU).step())
    assert plan_training(config, CPU, **SIZES).peak.num_bytes == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_peak_of_sampling_is_that_of_real_sampling(architecture: str) -> None:
    config = make_config("debug", {**SMALL, "MODEL_ARCHITECTURE": architecture, "GUIDANCE_SCALE": 2.0})

    def real() -> None:
        model = empty_model(config, text_width=384, device=CPU.device, dtype=None)
        sample(model, config, num_clips=8, num_tokens=8)

    planned = plan_sampling(config, CPU, num_clips=8, **SIZES).num_bytes
    assert planned == pytest.approx(peak_of_allocations(real), rel=0.1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_operations_agree_with_torchs_own_counter(architecture: str) -> None:
    """On another way: a copy on the device ``meta``; attention kernels may be counted by another formula there."""
    config = make_config("debug", {**SMALL, "MODEL_ARCHITECTURE": architecture, "BATCH_SIZE": 3})
    model = create_text2sign(config, EncoderShape(384, num_bytes=0))
    residual = 2 * 3 * model.clip_mean[0].numel() / PATCH**2 * len(model.residual.covariance) ** 2  # its covariance
    counted = 3 * training_flops(model, num_clips=3, num_tokens=8) + residual
    assert plan_training(config, CPU, **SIZES).num_flops == pytest.approx(counted, rel=0.02)


# ---- What settings do -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_checkpointing_lowers_what_is_kept_and_the_peak(architecture: str) -> None:
    without, with_it = (
        plan(**LARGER, **SMALL, MODEL_ARCHITECTURE=architecture, GRADIENT_CHECKPOINTING=enabled)
        for enabled in (False, True)
    )
    assert with_it.peak.num_bytes < without.peak.num_bytes
    assert with_it.peak.parts.get(KEPT, 0) < without.peak.parts[KEPT]
    assert RECOMPUTED not in without.peak.parts
    assert with_it.num_flops > 1.15 * without.num_flops


def test_smaller_chunks_lower_the_peak_where_checkpointing_frees_them() -> None:
    chunked, whole = (
        plan(BATCH_SIZE=8, GRADIENT_CHECKPOINTING=True, TINYFUSION_VARIANT="DiT-XS/4", TINYFUSION_FRAME_CHUNK_SIZE=size)
        for size in (2, 4)
    )
    assert chunked.peak.num_bytes < whole.peak.num_bytes
    assert chunked.num_flops == whole.num_flops


def test_more_clips_and_frames_take_more_memory() -> None:
    one, more, longer = (plan(**BRIEF, BATCH_SIZE=b, NUM_FRAMES=f).peak.num_bytes for b, f in ((1, 4), (8, 4), (1, 16)))
    assert one < more and one < longer


def test_autocast_keeps_copies_of_the_weights() -> None:
    """Two bytes for each weight of a product, at most."""
    found = plan(Place(torch.device("cpu"), True, torch.bfloat16), **LARGER, **BRIEF)
    assert 0 < found.peak.parts[COPIES] <= 2 * found.num_parameters
    assert COPIES not in plan(**LARGER, **BRIEF).peak.parts


def test_halving_the_batch_with_accumulation_leaves_operations_as_they_are() -> None:
    whole, halved = plan(**BRIEF, BATCH_SIZE=4), plan(**BRIEF, BATCH_SIZE=1, GRADIENT_ACCUMULATION_STEPS=4)
    assert halved.num_flops == pytest.approx(whole.num_flops, rel=0.05)


# ---- Levers and places ----------------------------------------------------------------------------------------------


def test_levers_are_those_that_the_config_leaves_open() -> None:
    spent = make_config("debug", {"GRADIENT_CHECKPOINTING": True, "TINYFUSION_FRAME_CHUNK_SIZE": 1, "BATCH_SIZE": 1})
    assert levers(spent, CPU) == levers(spent, CUDA) == []
    open_config = make_config(
        "debug", {"GRADIENT_CHECKPOINTING": False, "EMA_DEVICE": "model", "BATCH_SIZE": 9, "NUM_FRAMES": 8}
    )
    assert levers(open_config, CUDA) == [
        {"EMA_DEVICE": "cpu"},
        {"GRADIENT_CHECKPOINTING": True},
        {"TINYFUSION_FRAME_CHUNK_SIZE": 1},
        {"BATCH_SIZE": 3, "GRADIENT_ACCUMULATION_STEPS": 3},
    ]
    assert {"EMA_DEVICE": "cpu"} not in levers(open_config, CPU)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_an_absent_gpu_is_planned_with_the_operators_of_the_cpu() -> None:
    place = place_of(make_config("demo", {"DEVICE": "cuda"}))
    assert (place.device.type, place.traced.type, place.present) == ("cuda", "cpu", False)
    assert place.dtype == torch.bfloat16
    assert place_of(make_config("demo", {"DEVICE": "cuda", "MIXED_PRECISION": "no"})).dtype is None


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        place_of(make_config("demo", {"DEVICE": "cpu", "MIXED_PRECISION": "fp16"}))


MEASURE = """
import resource
from methods.planning.memory import plan_training, place_of
from config import make_config
import torch, torch._dynamo
config = make_config("default", {"DEVICE": "cpu", "NUM_FRAMES": 2, "GRADIENT_CHECKPOINTING": False})
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
plan = plan_training(config, place_of(config), text_width=768, num_tokens=32)
print(plan.num_parameters, peak() - before)
"""


def test_planning_the_default_config_allocates_none_of_its_weights() -> None:
    """1.34 GiB of weights; at four frames, for the test's sake."""
    done = subprocess.run([sys.executable, "-c", MEASURE], cwd=ROOT, capture_output=True, text=True, check=True)
    num_parameters, grown = map(int, done.stdout.split())
    assert num_parameters > 350_000_000
    assert grown < 300 * 1024  # KiB
