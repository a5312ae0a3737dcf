"""Before training: nine checks of settings, clips, text encoder, model and learning, each told in a line.

    python verify_training_ready.py
    python verify_training_ready.py --preset demo
    python verify_training_ready.py --set DATA_DIR=my_clips --set BATCH_SIZE=2

Exit code 0: all passed; 1: the line of the first that failed says what was found, what was wanted and the cure. It
writes no file. The default model, the slowest, takes about two minutes on two free CPU cores and 7.6 GiB. What
is checked, and why on a shortened clip: ``methods/training/readiness.py``.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from typing import TYPE_CHECKING

import config as settings
from config import Config, UserError
from utils.processes import print_anything

if TYPE_CHECKING:
    import torch

    from dataset import TextToSignDataset
    from models.text_encoder import TextEncoder

NUM_CHECKS = 9


class Report:
    """A line on stdout for each check as it ends; on a terminal's stderr, meanwhile, its name."""

    def __init__(self) -> None:
        self._title, self._number, self._started = "", 0, 0.0

    def begin(self, name: str) -> None:
        self._number, self._started = self._number + 1, time.perf_counter()
        self._title = f"[{self._number}/{NUM_CHECKS}] {name}"
        if sys.stderr.isatty():
            print(f"{self._title} ...", end="\r", file=sys.stderr, flush=True)

    def end(self, found: str, *, mark: str = "") -> None:
        print(f"{mark}{self._title:<28}{time.perf_counter() - self._started:6.1f} s  {found}", flush=True)


def verify(preset: str, assignments: list[str], report: Report) -> None:
    """The first three checks, which need no model, then the others.

    Raises:
        UserError: the first that fails.
    """
    report.begin("configuration")
    config = settings.make_config(preset, settings.parse_assignments(assignments))
    from methods.training import readiness  # torch: from here on it takes seconds
    from methods.training.resume import same_caption
    from models.text_encoder import TextEncoder
    from utils import runtime

    device, dtype = runtime.prepare(config)
    changed = len(settings.differences(config, Config()))
    report.end(f"preset {preset}, settings changed: {changed}; {device}, {dtype or 'float32'}")

    report.begin("training clips")
    data, rows = readiness.read_clips(config)
    found = f"{len(data)} with {len(set(data.texts))} captions in {config.DATA_DIR}, {len(rows)} to train on"
    report.end("; note: ".join(filter(None, (found, readiness.left_out(data), same_caption(data, rows)))))

    report.begin("text encoder")
    encoder = TextEncoder(config.TEXT_ENCODER, max_length=config.TEXT_MAX_LENGTH)
    report.end(f"{config.TEXT_ENCODER}, {readiness.check_frozen(encoder):,} parameters, frozen")

    with runtime.enough_memory(SMALLER):
        verify_model(config, data, rows, encoder=encoder, device=device, dtype=dtype, report=report)


def verify_model(
    config: Config,
    data: TextToSignDataset,
    rows: list[int],
    *,
    encoder: TextEncoder,
    device: torch.device,
    dtype: torch.dtype | None,
    report: Report,
) -> None:
    """The checks from the model on: ``rows`` are those of the training clips, ``dtype`` is autocast's."""
    from diffusion.text2sign import create_text2sign
    from methods.training import readiness
    from methods.training.warm_start import fit_statistics, initialise_backbone, why_from_scratch

    architecture = config.MODEL_ARCHITECTURE
    report.begin("model")
    short = readiness.shortened(config)
    model = create_text2sign(short, encoder)
    num_parameters = sum(p.numel() for p in model.parameters())
    report.end(f"{config.MODEL_NAME}, {num_parameters:,} parameters; below, clips of {short.NUM_FRAMES} frames")

    report.begin("pre-trained weights")
    words = initialise_backbone(model, short).removeprefix("backbone: ").splitlines()
    fit_statistics(model, data, rows[: readiness.STATISTICS_CLIPS], encoder)
    example = readiness.make_example(short, data, rows, encoder, device)
    model.autocast_dtype = dtype
    model.to(device)
    if why_from_scratch(short) is None:
        output = readiness.predict(model, example, example.text)
        readiness.check_output(output, when=f"After loading {config.TINYFUSION_CHECKPOINT}", cure=LOAD_AGAIN)
    report.end("; ".join(words))

    report.begin("forward and backward")
    steps = readiness.take_steps(model, example, short)
    output = readiness.predict(model, example, example.text)
    deviation = readiness.check_output(output, when=f"After {len(steps.losses)} optimiser steps", cure=LAST_LAYER)
    losses = ", ".join(f"{loss:.4f}" for loss in steps.losses)
    report.end(f"{len(steps.losses)} optimiser steps, loss {losses}; output's deviation {deviation:.2g}")

    report.begin("gradients flow")
    readiness.check_gradients(steps, architecture=architecture)
    report.end(f"in all {steps.num_trainable} trainable tensors")

    report.begin("motion reaches the loss")
    times = readiness.check_motion(model, example, config.MOTION_WEIGHT)
    report.end(f"an error counts {times:.3g} times as much where the clip moves")

    report.begin("text reaches the video")
    change, again = readiness.check_text(model, example, output, architecture=architecture)
    report.end(f"another caption changes the output by {change:.2g} of its deviation, the same by {again:.2g}")


SMALLER = "Take a smaller model (--preset small, or a lower IMAGE_SIZE), or a device that nothing else is using."
LOAD_AGAIN = (
    "The file's output layer is empty, or was not loaded. Get the file again (pretrained/README.md), or train from "
    "scratch: --set TINYFUSION_INIT=scratch"
)
LAST_LAYER = (
    "The last layer does not learn: see that nothing freezes it or fills it with zeros, and use "
    "--set TINYFUSION_FREEZE_BACKBONE=False"
)


def training_command(preset: str, assignments: list[str]) -> str:
    """What to run next, as it is typed into a shell."""
    given = [] if preset == "default" else ["--preset", preset]
    given += [part for item in assignments for part in ("--set", item)]
    return shlex.join(["python", "main.py", "train", *given])


def main(arguments: list[str] | None = None) -> int:
    """Run the checks; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python verify_training_ready.py",
        description="Check before training that settings, clips, text encoder and model are ready, and that it learns.",
    )
    parser.add_argument("--preset", default="default", metavar="NAME", help=f"one of: {', '.join(settings.PRESETS)}")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments",
        help="change one setting, as for training; may be repeated",
    )  # fmt: skip
    args = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    print_anything()
    report = Report()
    try:
        verify(args.preset, args.assignments, report)
    except UserError as error:
        report.end(str(error), mark="❌ ")
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    print("\n✅ ALL CHECKS PASSED!\n\nYour model is ready for training. You can now run:")
    print(f"   {training_command(args.preset, args.assignments)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
