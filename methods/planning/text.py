"""A plan in words."""

from __future__ import annotations

import torch

from methods.planning.plan import ASSUMED_WIDTH, Plan
from methods.training.step import UPDATE

GIB = 2**30
CUDA_CONTEXT = "CUDA's own context (about 0.5 GiB) is not counted and comes on top"
WIDTH = 42  # characters of a row's name


def as_text(plan: Plan) -> str:
    """A table for a tired reader; the verdict is its last line."""
    parts = (_head(plan), _training(plan), _beside(plan), _time(plan), _verdict(plan))
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def _head(plan: Plan) -> list[str]:
    config, training = plan.config, plan.training
    frozen = training.num_parameters - training.num_trainable
    trained = f", {training.num_trainable / 1e6:,.1f} M of them trained" if frozen else ""
    _, f, h, w = config.CLIP_SHAPE
    longest = f"captions of at most {config.TEXT_MAX_LENGTH} tokens"
    accumulated = config.GRADIENT_ACCUMULATION_STEPS
    times = f" x {accumulated} accumulated" if accumulated > 1 else ""
    lines = [
        f"{config.MODEL_NAME}: {training.num_parameters / 1e6:,.1f} M parameters{trained}",
        f"clips: {config.BATCH_SIZE}{times}, of {f} frames of {h} x {w} px; {longest}",
        f"planned for: {plan.place.device.type}, {str(plan.place.dtype or torch.float32).removeprefix('torch.')}",
    ]
    if not plan.place.present:
        lines[-1] += "; it is not here, so this is reckoned with the CPU's operators"
    if plan.encoder is None:
        lines.append(
            f"not known: TEXT_ENCODER={config.TEXT_ENCODER} is not on this machine; {ASSUMED_WIDTH} channels are "
            "assumed, and its own memory is not counted"
        )
    return lines


def _training(plan: Plan) -> list[str]:
    peak = plan.training.peak
    where = "in the update" if peak.phase == UPDATE else f"in the {peak.phase} pass"
    rows = [_row("memory of a training step", "GiB"), *(_row(f"  {kind}", _gib(n)) for kind, n in peak.parts.items())]
    return [*rows, _row(f"  peak, {where}", _gib(peak.num_bytes))]


def _beside(plan: Plan) -> list[str]:
    on_cpu = plan.place.device.type == "cpu"
    rows = [_row(f"  {name}", _gib(size)) for name, size in plan.host.items()]
    if rows:
        rows = [_row("beside it" if on_cpu else "on the host", "GiB"), *rows]
    if plan.num_between:
        clips = f"{plan.num_between} clips" if plan.num_between > 1 else "1 clip"
        rows.append(_row(f"previews, ranking: {clips} between steps", _gib(plan.between)))
    return rows


def _time(plan: Plan) -> list[str]:
    config, speed, training = plan.config, plan.speed, plan.training
    operations = f"operations of a step: {training.num_flops / 1e12:.3g} TFLOP"
    if speed is None:
        return [operations, f"seconds of a step: not known, {plan.place.device.type} is not on this machine"]
    rate = f"{speed.matmul_rate / 1e12:.3g} TFLOP/s"
    floor = f"seconds of a step: at least {speed.floor(training):.3g}, if all of it ran at the matmul rate of {rate}"
    seconds = speed.expected(training)
    if seconds is None:
        return [operations, floor, "expected: not measured, the smallest slice of the model takes too long"]
    lines = [operations, floor, f"expected: {seconds:.3g} at {speed.share:.0%} of that rate, as a slice of it reached"]
    if plan.num_clips:
        epoch = plan.steps_per_epoch * seconds
        lines += [
            f"an epoch: {plan.steps_per_epoch:,} steps for {plan.num_clips:,} clips, {_duration(epoch)}",
            f"all {config.NUM_EPOCHS:,} epochs: {_duration(epoch * config.NUM_EPOCHS)}, without previews and saving",
        ]
    else:
        lines.append(f"an epoch: not known, DATA_DIR={config.DATA_DIR} holds no clips with captions")
    return lines


def _verdict(plan: Plan) -> list[str]:
    device = plan.place.device.type
    top = {"cuda": f"; {CUDA_CONTEXT}", "cpu": "; Python and torch themselves come on top"}.get(device, "")
    if plan.memory is None:
        return [
            f"needs {_gib(plan.needed)} GiB of {device} memory{top}. Say --memory 8 to ask whether 8 GiB are enough"
        ]
    spare = plan.memory - plan.needed
    if spare >= 0:
        return [f"fits: needs {_gib(plan.needed)} of {_gib(plan.memory)} GiB, {_gib(spare)} to spare{top}"]
    lines = [_row("what would help", "GiB saved")]
    for changes, found in plan.levers:
        saved = plan.on_device - found
        fits = " (fits)" if plan.needed - saved <= plan.memory else ""
        flags = " ".join(f"--set {key}={value}" for key, value in changes.items())
        lines.append(f"  {_gib(saved):>6}  {flags}{fits}")
    return [*lines, f"does not fit: needs {_gib(plan.needed)} of {_gib(plan.memory)} GiB, {_gib(-spare)} too much{top}"]


def _row(name: str, value: str) -> str:
    return f"{name:<{WIDTH}} {value:>8}"


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / GIB:.2f}" if num_bytes >= GIB / 100 else f"{num_bytes / GIB:.4f}"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} seconds"
