"""Where the time of a call goes: torch's profiler, its operators grouped by what they do.

Linear layers reach the hardware as ``addmm`` and ``mm``, attention in plain products as ``bmm`` and ``softmax``: so the
two are told apart by name. The casts of the weights under autocast are copies.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity

from benchmarks.timing import Call
from utils.runtime import synchronise

NUM_TOP = 15
WHOLE = "the whole call"
NAMES = {  # kind -> operators, without namespace, underscores around them and "_backward"
    "attention": {"bmm", "baddbmm", "softmax", "softmax_backward_data", "safe_softmax"},
    "matrix products": {"addmm", "mm", "linear", "matmul", "mkldnn_linear", "addmv", "mv", "addbmm"},
    "copies and casts": {
        "copy", "to_copy", "to", "clone", "contiguous", "cat", "stack", "repeat_interleave", "index_select", "index",
        "index_put", "fill", "zero", "zeros", "zeros_like", "new_zeros", "slice", "select", "constant_pad_nd",
    },
    "elementwise": {
        "add", "sub", "rsub", "mul", "div", "neg", "pow", "exp", "sin", "cos", "sqrt", "rsqrt", "gelu", "silu", "tanh",
        "sigmoid", "masked_fill", "where", "clamp", "clamp_min", "isinf", "sum", "mean", "addcmul", "addcdiv", "lerp",
        "randn", "normal", "mse_loss",
    },
}  # fmt: skip
PARTS = {  # kind -> pieces of a name, asked before NAMES
    "attention": ("scaled_dot_product", "flash_attention", "efficient_attention"),
    "normalisation": ("layer_norm", "group_norm", "batch_norm"),
    "optimiser": ("foreach", "adam", "vector_norm", "Optimizer", "fused_lerp"),
    "matrix products": ("convolution", "conv3d", "conv2d"),
}
KINDS = (
    "matrix products",
    "attention",
    "normalisation",
    "elementwise",
    "copies and casts",
    "optimiser",
    "other",
    "outside operators",
)


@dataclass
class Profile:
    """Seconds by kind and of the dearest operators by their shapes; ``wall`` includes the profiler's own."""

    wall: float
    kinds: dict[str, float]
    top: list[dict[str, object]]

    def to_dict(self) -> dict[str, object]:
        total = sum(self.kinds.values())
        kinds = {kind: {"seconds": spent, "share": spent / total} for kind, spent in self.kinds.items()}
        return {"wall_s": self.wall, "operators_s": total, "kinds": kinds, "top": self.top}

    def print(self, title: str) -> None:
        total = sum(self.kinds.values())
        print(f"\n{title}: {total:.4g} s in operators, {self.wall:.4g} s in all (profiled)")
        for kind, spent in sorted(self.kinds.items(), key=lambda item: -item[1]):
            print(f"  {kind:<20}{spent:>10.4f} s{100 * spent / total:>7.1f} %")
        for row in self.top:
            name = f"{row['operator']} {row['shapes']}"
            print(f"  {row['seconds']:>10.4f} s{100 * row['share']:>7.1f} %{row['calls']:>7}x  {name[:100]}")


def kind_of(operator: str) -> str:
    """One of ``KINDS`` for an operator's name, such as ``aten::addmm``."""
    name = operator.split("::")[-1]
    for kind, parts in PARTS.items():
        if any(part in name for part in parts):
            return kind
    plain = name.strip("_").removesuffix("_backward")
    return next((kind for kind, names in NAMES.items() if plain in names), "other")


def profile(call: Call, device: torch.device) -> Profile:
    """Of one call: on a GPU the time of its kernels, on a CPU that of its operators without those they call."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with torch.profiler.profile(activities=activities, record_shapes=True) as profiler:
        with torch.profiler.record_function(WHOLE):
            call()
            synchronise(device)
    return read(profiler.key_averages(group_by_input_shape=True), device)


def read(events: object, device: torch.device) -> Profile:
    """Group the profiler's averages, one for each operator and its shapes."""
    wall, kinds, rows = 0.0, Counter(dict.fromkeys(KINDS, 0.0)), []
    for event in events:
        if event.device_type != DeviceType.CPU:
            continue  # a kernel: its time stands at the operator that launched it
        spent = (event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total) / 1e6
        if event.key == WHOLE:
            wall = event.cpu_time_total / 1e6
            kinds["outside operators"] += spent
            continue
        kinds[kind_of(event.key)] += spent
        rows.append((spent, event))
    total = sum(kinds.values())
    rows.sort(key=lambda row: -row[0])
    top = [
        {
            "operator": event.key,
            "shapes": str([shape for shape in event.input_shapes if shape]),
            "kind": kind_of(event.key),
            "calls": event.count,
            "seconds": spent,
            "share": spent / total,
        }
        for spent, event in rows[:NUM_TOP]
    ]
    return Profile(wall, dict(kinds), top)
