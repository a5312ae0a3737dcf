"""The rows of ``benchmarks/gpu.py`` that need no training: functions of a ``Bench``, which give plain JSON types.

They are the other benchmarks' measurements, at the size of the default preset, or of debug in a rehearsal.
"""

from __future__ import annotations

import contextlib
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks import compiled as compiling
from benchmarks import efficiency, peers, plan
from benchmarks.latte import LATTES, SIZES, Size
from benchmarks.limits import short
from benchmarks.loop import loop_cost
from benchmarks.timing import repeated, summary
from benchmarks.workload import TEXT_WIDTH, Workload, preset, random_text
from config import Config, make_config, parse_assignments
from diffusion.text2sign import ARCHITECTURES
from methods.planning.memory import place_of, plan_training
from methods.training.distributed import gradient_norm, shard
from presets import PACKAGED_ENCODER
from utils import runtime
from utils.fingerspelling.folder import Look
from utils.fingerspelling.lexicon import render_lexicon

BATCH = 8  # clips that are sampled at once
DEPTH = 14  # blocks of the default preset
LATENTS = {"AUTOENCODER": "pca:16", "IMAGE_SIZE": 256}
SMALL_LATENTS = {"AUTOENCODER": "pca:4", "IMAGE_SIZE": 16, "TINYFUSION_VARIANT": "DiT-XXS/2"}
TINY = Size(width=64, depth=2, side=8, patch=2, frames=3, adapter_width=32, chunk=3)  # of a rehearsal
FP16_TRIES = 17  # halvings of the first scale, 65,536


class Absent(Exception):
    """What a row needs is not here; not an error of ours."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where rows run: the device, a folder for what they write, and until when (``time.monotonic``)."""

    device: torch.device
    rehearse: bool
    folder: Path
    deadline: float
    repeats: int = 3
    camera: Path | None = None  # films of signers
    train_seconds: float = 180
    changed: tuple[str, ...] = ()  # KEY=VALUE, of trainings

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()

    @property
    def preset(self) -> str:
        return "debug" if self.rehearse else "default"

    def work(self, **changed: object) -> Workload:
        """The preset's model with random clips."""
        return preset(self.preset, **{"DEVICE": self.device.type, **changed})

    def config(self, **changed: object) -> Config:
        """The preset for a real run below the folder, which needs nothing from elsewhere."""
        names = ("CHECKPOINT_DIR", "LOG_DIR", "SAMPLE_DIR", "CACHE_DIR")
        places = {name: str(self.folder / name.lower()) for name in names}
        own = {"TEXT_ENCODER": PACKAGED_ENCODER, "TINYFUSION_INIT": "scratch", "VALIDATION_FRACTION": 0.0}
        return make_config(self.preset, {**places, **own, "DEVICE": self.device.type, **changed})

    @property
    def training_changes(self) -> dict[str, object]:
        return dict(parse_assignments(list(self.changed)))

    @cached_property
    def letters(self) -> Path:
        """A folder of drawn letters of the preset's size, four of them in a rehearsal."""
        config = self.config()
        look = Look(config.IMAGE_SIZE, config.NUM_FRAMES, fps=8, copies=0, seed=config.SEED)
        some = frozenset("ABCD") if self.rehearse else None
        report = render_lexicon(self.folder / "clips", look, languages=["ase"], letters=some)
        return self.folder / "clips" / report.folders[0]


def numerics(bench: Bench) -> dict[str, Any]:
    """A forward and the gradient: float32 here against the CPU, the halves against float32 here."""
    small = {"NUM_FRAMES": 4, "BATCH_SIZE": 1, "MIXED_PRECISION": "no"}
    reference = passed(bench.work(**{**small, "DEVICE": "cpu"}), torch.float32)
    work = bench.work(**small)
    full = passed(work, torch.float32)
    found: dict[str, Any] = {"float32 against the CPU": apart(full, reference)}
    for dtype in (torch.bfloat16, torch.float16):
        found[short(dtype)] = apart(passed(work, dtype), full)
    return found


def passed(work: Workload, dtype: torch.dtype) -> dict[str, Any]:
    """Under autocast to ``dtype``: the prediction and the gradient, on the host; float16's by the trainer's scaler."""
    work.model.autocast_dtype = None if dtype is torch.float32 else dtype
    parameters = [p for p in work.model.parameters() if p.requires_grad]
    nothing = torch.optim.SGD(parameters, lr=0.0)
    scaler = torch.amp.GradScaler(work.device.type, enabled=dtype is torch.float16)
    for _ in range(FP16_TRIES):
        loss = work.loss()
        scaler.scale(loss).backward()
        scaler.unscale_(nothing)
        gradient = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]).cpu()
        if finite := bool(gradient.isfinite().all()):
            break
        scaler.step(nothing)  # does nothing, and remembers the overflow
        scaler.update()
        nothing.zero_grad(set_to_none=True)
    nothing.zero_grad(set_to_none=True)
    prediction = work.predict().cpu()
    return {
        "prediction": prediction, "gradient": gradient, "loss": float(loss.detach()), "finite": finite,
        "scale": scaler.get_scale(),
    }  # fmt: skip


def apart(found: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Root of the mean squared difference over that of what is wanted, of prediction and gradient; and the losses."""

    def relative(a: Tensor, b: Tensor) -> float:
        return float((a - b).square().mean().sqrt() / b.square().mean().sqrt())

    ratios = {name: relative(found[name], wanted[name]) for name in ("prediction", "gradient")}
    return {**ratios, "loss": found["loss"], "wanted_loss": wanted["loss"], "finite": found["finite"],
            "scale": found["scale"]}  # fmt: skip


def default_step(bench: Bench) -> dict[str, Any]:
    """Seconds of forward, training step and sampling step, and their shares of measured products."""
    work = bench.work()
    args = Namespace(
        repeats=bench.repeats, steps=bench.repeats, sampling_steps=2 if bench.rehearse else 10,
        guidance_scale=2.0, no_profile=False, train_profile=True,
    )  # fmt: skip
    return {**efficiency.describe(work), **efficiency.measure(work, args)}


def memory(bench: Bench) -> dict[str, Any]:
    """The peak of real training steps against what ``plan`` says."""
    config = bench.config(DATA_DIR=str(bench.letters))
    measured = plan.measure(config, "allocated" if bench.device.type == "cuda" else "resident")
    sizes = {name: measured[name] for name in ("text_width", "num_tokens")}
    planned = plan_training(config, place_of(config), **sizes).peak.num_bytes
    what = "torch's allocator" if bench.device.type == "cuda" else "growth of the resident set: not comparable"
    return {
        "planned_gib": planned / 2**30, "measured_gib": measured["bytes"] / 2**30, "measured": what,
        "planned_over_measured": planned / max(measured["bytes"], 1),
    }  # fmt: skip


def plain_design(bench: Bench) -> dict[str, Any]:
    """Against the frame-by-frame design with the same weights."""
    args = Namespace(device=bench.device.type, precision="auto", clips=None, repeats=bench.repeats)
    return {"proof_float32": peers.proof_at_debug_size(), **peers.against_plain(bench.preset, args)}


def latte(bench: Bench) -> dict[str, Any]:
    """Against diffusers' Latte of the same width, with the default's number of blocks."""
    size = TINY if bench.rehearse else SIZES["default"]._replace(depth=DEPTH, chunk=16)
    args = Namespace(device=bench.device.type, precision="auto", checkpointing=False, repeats=bench.repeats)
    return peers.against_latte(size, ["tinyfusion", *LATTES], args)


def compiled(bench: Bench) -> dict[str, Any]:
    """Blocks under ``torch.compile``; a rehearsal traces them and compiles nothing."""
    backend = "eager" if bench.rehearse else "inductor"
    args = Namespace(mode="default", backend=backend, kinds=list(compiling.KINDS), repeats=bench.repeats)
    return compiling.measure(bench.work(), args)


def sampling(bench: Bench) -> dict[str, Any]:
    """DDIM with guidance, the preset's steps, ``BATCH`` clips at once."""
    work, num_clips = bench.work(), 2 if bench.rehearse else BATCH
    text, num_steps = random_text(num_clips, TEXT_WIDTH), work.config.INFERENCE_TIMESTEPS
    draws = [runtime.generator(0, "sample", index) for index in range(num_clips)]
    work.model.sample(text, draws, num_steps=1, guidance_scale=2.0)  # chooses kernels
    cost = loop_cost(
        lambda: work.model.sample(text, draws, num_steps=num_steps, guidance_scale=2.0),
        work.model.backbone,
        wait=lambda: runtime.synchronise(work.device),
    )
    return {
        "clips": num_clips, "steps": num_steps, "guidance_scale": 2.0, "seconds": cost.total,
        "seconds_a_clip": cost.total / num_clips, "forwards": cost.num_forwards, "beyond_forwards": cost.beyond,
    }  # fmt: skip


def latents(bench: Bench) -> dict[str, Any]:
    """Forward and backward at 256 px in latents, the autoencoder's encoding included."""
    work = bench.work(**({**LATENTS, **SMALL_LATENTS} if bench.rehearse else LATENTS))
    times = {
        "forward": repeated(work.predict, work.device, repeats=bench.repeats),
        "forward and backward": repeated(work.train, work.device, repeats=bench.repeats),
    }
    shapes = {"clip": list(work.video.shape[1:]), "latents": list(work.config.INPUT_SHAPE)}
    return {**shapes, **{name: summary(found) for name, found in times.items()}}


def one_process(bench: Bench) -> dict[str, Any]:
    """Loss, gradient norm and seconds of a step: alone, under DDP and under FSDP, which have one process to exchange
    with: their code, and nccl's, without any gain."""
    with meeting(bench):
        found = {way: stepped(bench, way) for way in ("alone", "ddp", "fsdp")}
    return {"backend": "nccl" if bench.device.type == "cuda" else "gloo", **found}


@contextlib.contextmanager
def meeting(bench: Bench) -> Iterator[None]:
    """A process group of this process alone."""
    backend = "cpu:gloo,cuda:nccl" if bench.device.type == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=(bench.folder / "meeting").as_uri(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def stepped(bench: Bench, way: str) -> dict[str, Any]:
    """One way of ``distribute``, which leaves a process that is alone as it is."""
    work = bench.work()
    forward: nn.Module = work.model
    if way == "fsdp":
        units = ARCHITECTURES[work.config.MODEL_ARCHITECTURE].units(work.model.backbone)
        shard(work.model.backbone, work.device, units=units)
    elif way == "ddp":
        forward = DistributedDataParallel(work.model, broadcast_buffers=False, gradient_as_bucket_view=True)
    loss = forward(work.video, work.text, work.noise).mean()
    loss.backward()
    norm = gradient_norm(list(work.model.parameters()))

    def step() -> None:
        forward(work.video, work.text, work.noise).mean().backward()
        work.model.zero_grad(set_to_none=True)

    times = repeated(step, work.device, repeats=bench.repeats)
    return {"loss": float(loss.detach()), "gradient_norm": float(norm), **summary(times)}
