"""Our models beside others, in turn in one run: diffusers' Latte, and the plain frame-by-frame design.

    python -m benchmarks.peers                                    # everything; about half an hour on two CPU cores
    python -m benchmarks.peers --quick                            # small sizes alone, a few minutes
    python -m benchmarks.peers --only plain --presets default     # one part; written to peers_plain.json

**Latte**: seconds per token of a forward without gradients and of forward and backward, one clip, at equal width,
heads, frames, patches and text, float32 weights under the same autocast. Equal depth is read in two ways: as many
layers as we have blocks, and as many blocks (a layer of Latte is two). Parameters and counted operations stand beside.

**Plain design**: the same weights, frame by frame, with all conditioning computed for every frame and no frames
batched. That both give the same output is checked first: in float32 at debug size, then at the timed size and
precision. Checkpointing is as the preset has it, in both; the optimiser, which is the same for both, is left out.

Ratios are their seconds over ours, the median of the rounds: above 1 ours is faster.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.flops import count, meta_copy
from benchmarks.latte import LATTES, MODELS, NUM_STEPS, SIZES, Size
from benchmarks.limits import short
from benchmarks.machine import command_line, result_name, write_result
from benchmarks.plain import PlainVideo
from benchmarks.timing import alternate, summary, times_as_fast
from benchmarks.workload import Workload, preset, random_text, wake
from models.text_features import TextFeatures
from utils import runtime

PLAIN_TARGET = "1.5 on an H100"
ROUNDING = 0.03  # of the output's deviation: in bf16 every product is rounded to 8 bits, in another order
KINDS = ("forward", "training")


class Pass:
    """A backbone, its inputs, and the two calls that are timed."""

    def __init__(
        self, backbone: nn.Module, inputs: tuple[Tensor, Tensor, TextFeatures], dtype: torch.dtype | None
    ) -> None:
        self.backbone, self.inputs, self.dtype = backbone, inputs, dtype

    def _predict(self) -> Tensor:
        with runtime.autocast(self.inputs[0].device, self.dtype):
            prediction = self.backbone(*self.inputs)
        return prediction.float()

    @torch.no_grad()
    def forward(self) -> Tensor:
        """Without gradients, as in sampling; ``output`` keeps what came out."""
        self.output = self._predict()
        return self.output

    def training(self) -> None:
        """Forward and backward; the gradients are thrown away."""
        self._predict().square().mean().backward()
        self.backbone.zero_grad(set_to_none=True)


# ---- Latte ----------------------------------------------------------------------------------------------------------


def latte_inputs(size: Size, device: torch.device) -> tuple[Tensor, Tensor, TextFeatures]:
    """One clip."""
    x_t = torch.randn(1, *size.clip, generator=runtime.generator(0, "clips")).to(device)
    return x_t, torch.tensor([NUM_STEPS // 2], device=device), random_text(1, size.text_width).to(device)


def counted(backbone: nn.Module, inputs: tuple[Tensor, Tensor, TextFeatures], *, backward: bool) -> int:
    """Operations of a pass as it is executed."""
    x_t, t, text = inputs
    empty = TextFeatures(text.tokens.to("meta"), text.mask.to("meta"), text.pooled.to("meta"))
    with torch.set_grad_enabled(backward):
        copy = meta_copy(backbone)
        return count(lambda: copy(x_t.to("meta"), t.to("meta"), empty), backward=backward)


def against_latte(size: Size, names: list[str], args: argparse.Namespace) -> dict[str, Any]:
    """A row for each model; its ratios are of Latte's seconds to its own."""
    device = runtime.resolve_device(args.device)
    dtype = runtime.resolve_precision(args.precision, device)
    inputs = latte_inputs(size, device)
    passes = {}
    for name in names:
        torch.manual_seed(0)
        backbone = MODELS[name](size, checkpointing=args.checkpointing)
        wake(backbone)
        passes[name] = Pass(backbone.to(device), inputs, dtype)
    times = {
        kind: alternate({name: getattr(one, kind) for name, one in passes.items()}, device, repeats=args.repeats)
        for kind in KINDS
    }
    rows = {}
    for name, one in passes.items():
        rows[name] = {
            "parameters": sum(p.numel() for p in one.backbone.parameters()),
            **{kind: latte_row(name, times[kind], size, one, backward=kind == "training") for kind in KINDS},
        }
    return {"size": size._asdict(), "tokens": size.num_tokens, "dtype": short(dtype or torch.float32), "rows": rows}


def latte_row(name: str, times: dict[str, list[float]], size: Size, one: Pass, *, backward: bool) -> dict[str, Any]:
    """Seconds, microseconds a token, operations, and how many times as fast as each Latte."""
    found = summary(times[name])
    flops = counted(one.backbone, one.inputs, backward=backward)
    return {
        **found,
        "us_per_token": 1e6 * found["median_s"] / size.num_tokens,
        "tflop": flops / 1e12,
        "tflops": flops / 1e12 / found["median_s"],
        "times_as_fast_as": {other: times_as_fast(times[name], times[other]) for other in LATTES if other in times},
    }


def show_latte(name: str, found: dict[str, Any]) -> None:
    """The table: ``x layers`` is how many times as fast as Latte with equal layers, ``x blocks`` with equal blocks."""
    size = found["size"]
    print(
        f"\nLatte, {name}: width {size['width']}, depth {size['depth']}, {found['tokens']} tokens "
        f"({size['frames']} frames of {size['side']} px, patch {size['patch']}), {found['dtype']}\n"
        "x layers, x blocks: times as fast as Latte with as many layers as we have blocks, and with as many blocks"
    )
    print(f"{'':<22}{'parameters':>11}", end="")
    for kind in KINDS:
        print(f"  |{kind + ', us/token':>21}{'TFLOP':>8}{'TFLOP/s':>9}{'x layers':>9}{'x blocks':>9}", end="")
    print()
    for model, row in found["rows"].items():
        print(f"{model:<22}{row['parameters'] / 1e6:>9.1f} M", end="")
        for kind in KINDS:
            cell = row[kind]
            ratios = "".join(f"{cell['times_as_fast_as'].get(other, float('nan')):>9.2f}" for other in LATTES)
            print(f"  |{cell['us_per_token']:>21.4g}{cell['tflop']:>8.3g}{cell['tflops']:>9.3g}{ratios}", end="")
        print()


# ---- the plain design -----------------------------------------------------------------------------------------------


def check_equal(ours: Tensor, plain: Tensor, dtype: torch.dtype | None) -> float:
    """The root of the mean squared difference over the deviation of ``ours``; stops where it is no rounding.

    Raises:
        AssertionError: the two are not the same function.
    """
    deviation = float(ours.std())
    apart = float((plain - ours).square().mean().sqrt()) / deviation
    if dtype is None:
        torch.testing.assert_close(plain, ours, atol=1e-4 * deviation, rtol=1e-4)
    elif not apart <= ROUNDING:
        raise AssertionError(f"outputs are {apart:.3g} deviations apart; rounding to {dtype} explains {ROUNDING}")
    return apart


def passes_of(work: Workload) -> dict[str, Pass]:
    """Ours and the plain design on the batch of ``work``, with the same weights."""
    inputs = (work.noise.eps, work.noise.t, work.text)
    backbone, dtype = work.model.backbone, work.model.autocast_dtype
    return {"ours": Pass(backbone, inputs, dtype), "plain": Pass(PlainVideo(backbone), inputs, dtype)}


def proof_at_debug_size() -> float:
    """In float32, where nothing but the order of sums may differ."""
    work = preset("debug", DEVICE="cpu", MIXED_PRECISION="no", NUM_FRAMES=6, GRADIENT_CHECKPOINTING=True)
    outputs = {name: one.forward() for name, one in passes_of(work).items()}
    return check_equal(outputs["ours"], outputs["plain"], None)


def against_plain(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a forward and of forward and backward, and the ratios."""
    settings = {"DEVICE": args.device, "MIXED_PRECISION": args.precision, "MODEL_ARCHITECTURE": "tinyfusion"}
    if args.clips:
        settings["BATCH_SIZE"] = args.clips
    work = preset(name, **settings)
    passes, apart = passes_of(work), 0.0

    def check() -> None:
        nonlocal apart
        apart = check_equal(passes["ours"].output, passes["plain"].output, work.model.autocast_dtype)

    rows: dict[str, Any] = {}
    for kind, warmed in (("forward", check), ("training", lambda: None)):
        calls = {one: getattr(passes[one], kind) for one in passes}
        times = alternate(calls, work.device, repeats=args.repeats, warmed=warmed)
        rows[kind] = {
            **{one: summary(times[one]) for one in calls},
            "times_as_fast": times_as_fast(times["ours"], times["plain"]),
        }
    return {
        "model": work.config.MODEL_NAME,
        "clips": len(work.video),
        "shape": list(work.config.INPUT_SHAPE),
        "gradient_checkpointing": work.config.GRADIENT_CHECKPOINTING,
        "frame_chunk_size": work.config.TINYFUSION_FRAME_CHUNK_SIZE,
        "dtype": short(work.model.autocast_dtype or torch.float32),
        "outputs_apart_in_deviations": apart,
        "rows": rows,
    }


def show_plain(name: str, found: dict[str, Any]) -> None:
    print(f"\nplain design, {name}: {found['model']}, {found['clips']} clips, {found['dtype']}", end="")
    print(f", outputs {found['outputs_apart_in_deviations']:.2g} deviations apart")
    print(f"{'':<12}{'ours':>12}{'plain':>12}{'times as fast':>15}  target")
    for kind, row in found["rows"].items():
        target = PLAIN_TARGET if kind == "training" else ""
        cells = f"{row['ours']['median_s']:>10.4g} s{row['plain']['median_s']:>10.4g} s{row['times_as_fast']:>15.2f}"
        print(f"{kind:<12}{cells}  {target}")


# ---- command line ---------------------------------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("latte", "plain"), help="one of the two parts (default: both)")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES), help="of the part latte")
    parser.add_argument("--depth", type=int, help="blocks, in place of the sizes' own")
    parser.add_argument(
        "--models", nargs="+", choices=MODELS, metavar="NAME",
        default=[name for name in MODELS if name != "dit3d"],
        help=f"of {', '.join(MODELS)} (default: all but dit3d, whose attention is joint)",
    )  # fmt: skip
    parser.add_argument("--checkpointing", action="store_true", help="of the part latte, in all models")
    parser.add_argument("--presets", nargs="+", default=["demo", "default"], help="of the part plain")
    parser.add_argument("--clips", type=int, help="of the part plain (default: the preset's BATCH_SIZE)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--precision", default="auto", choices=("auto", "bf16", "no"))
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--quick", action="store_true", help="the small size and the demo preset alone")
    args = parser.parse_args()
    if args.quick:
        args.sizes, args.presets = ["small"], ["demo"]
    return args


def parts(args: argparse.Namespace) -> dict[str, dict[str, Callable[[], dict[str, Any]]]]:
    """Part -> name of the row -> what measures it."""
    sizes = {name: SIZES[name]._replace(depth=args.depth or SIZES[name].depth) for name in args.sizes}
    every = {
        "latte": {name: partial(against_latte, size, args.models, args) for name, size in sizes.items()},
        "plain": {name: partial(against_plain, name, args) for name in args.presets},
    }
    return {part: measures for part, measures in every.items() if args.only in (None, part)}


def main() -> None:
    """Measure, print the tables, write ``results/peers.json``."""
    args = arguments()
    device = runtime.resolve_device(args.device)
    print(runtime.describe(device, runtime.resolve_precision(args.precision, device)), flush=True)
    result: dict[str, Any] = {"device": device.type, "threads": torch.get_num_threads()}
    if args.only != "latte":
        result["plain_proof_float32"] = proof_at_debug_size()
        print(f"plain design proven equal: {result['plain_proof_float32']:.2g} deviations apart", flush=True)
    for part, measures in parts(args).items():
        result[part] = {}
        for name, measure in measures.items():
            result[part][name] = found = measure()
            {"latte": show_latte, "plain": show_plain}[part](name, found)
            print(end="", flush=True)
    name = result_name("peers", (args.only or "", ""), (device.type, "cpu"))
    print(f"\nwritten: {write_result(name, command_line('peers'), result)}")


if __name__ == "__main__":
    main()
