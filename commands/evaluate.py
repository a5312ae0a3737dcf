"""``evaluate``: does a model obey its text?"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from commands.common import add_command, add_model, add_verify, check_at_least_one, load_model_of, tell
from config import ConfigError
from utils.layouts.listing import SPLITS

DEFAULTS = {"max_clips": 64, "clips_per_caption": 4, "recogniser": "test_resnet", "recogniser_steps": 500}
OF_THE_MACHINE = ("DEVICE", "MIXED_PRECISION", "DETERMINISTIC", "CACHE_DIR")  # settings of both models


def add(commands: argparse._SubParsersAction) -> None:
    """The command and its flags."""
    command = add_command(commands, "evaluate", run, "measure whether a model obeys its text")
    add_model(command, "clips, or prompts for a clip,")
    command.add_argument("--data", metavar="FOLDER", help="clips and captions; default: those it was trained on")
    command.add_argument(
        "--split",
        choices=sorted(set(SPLITS.values())),
        help="the clips to judge; default: train and validation, each for itself",
    )
    command.add_argument(
        "--max_clips", type=int, default=DEFAULTS["max_clips"], metavar="N",
        help="at most so many clips that were trained on, and so many held-out ones",
    )  # fmt: skip
    command.add_argument(
        "--clips_per_caption", type=int, default=DEFAULTS["clips_per_caption"], metavar="N",
        help="generated for each",
    )  # fmt: skip
    command.add_argument(
        "--blind", metavar="PATH", help="a checkpoint trained with SHUFFLE_CAPTIONS=True: one more control"
    )
    command.add_argument(
        "--recogniser", metavar="NAME", default=DEFAULTS["recogniser"],
        help="network of timm on which the recogniser stands that names generated signs (default %(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--recogniser_steps", type=int, metavar="N", default=DEFAULTS["recogniser_steps"],
        help="its training steps, at most; it stops when it has learnt",
    )  # fmt: skip
    command.add_argument(
        "--fvd_weights", metavar="FILE", help="TorchScript of I3D, as StyleGAN-V publishes it: measure FVD as well"
    )
    command.add_argument(
        "--translator", metavar="CMD",
        help="a command that reads paths of clips, one a line, and writes a line of\n"
        "text for each: measure back translation",
    )  # fmt: skip
    add_verify(command)
    command.add_argument(
        "--output", metavar="FOLDER", help="default: generated_samples/EXPERIMENT/evaluation_stepN, or _SPLIT"
    )


def run(args: argparse.Namespace) -> int:
    """Print the table of scores; write them as JSON and as a page, beside contact sheets and the generated clips."""
    if args.max_clips < 2:
        raise ConfigError(f"--max_clips {args.max_clips}; wanted at least 2, since one clip cannot be confused.")
    check_at_least_one(args, "clips_per_caption", "recogniser_steps", "batch_size")
    loaded = load_model_of(args, {"DATA_DIR": args.data} if args.data else {})
    from dataset import load_dataset
    from methods.evaluation.evaluator import evaluate, fvd_with, translated_by
    from methods.evaluation.part import PARTS
    from methods.evaluation.table import format_report
    from methods.sampling.loading import load_model
    from utils.runtime import enough_memory

    extras = [fvd_with(Path(args.fvd_weights))] if args.fvd_weights else []
    extras += [translated_by(args.translator)] if args.translator is not None else []
    config = loaded.config
    same = {key: getattr(config, key) for key in OF_THE_MACHINE}
    blind = load_model(Path(args.blind), same, batch_size=loaded.batch_size) if args.blind else None
    if blind and not blind.config.SHUFFLE_CAPTIONS:
        raise ConfigError(f"--blind {args.blind} was trained with its captions; wanted SHUFFLE_CAPTIONS=True.")
    if blind and blind.config.CLIP_SHAPE != config.CLIP_SHAPE:
        found, wanted = blind.config.CLIP_SHAPE, config.CLIP_SHAPE
        raise ConfigError(f"--blind {args.blind} makes clips of {found}; wanted {wanted}, as the model has.")
    data = load_dataset(config, verify=args.verify)
    tell(loaded)
    for problem in data.problems:
        print(f"left out: {problem.text}", file=sys.stderr)
    suffix = f"_{args.split}" if args.split else ""
    default = Path(config.SAMPLE_DIR) / config.EXPERIMENT_NAME / f"evaluation_step{loaded.step:06d}{suffix}"
    folder = Path(args.output) if args.output else default
    words = ["python", "main.py", *args.typed]  # what makes this evaluation again
    words += [] if args.checkpoint else ["--checkpoint", str(loaded.path)]
    with enough_memory(f"Lower --batch_size (now {loaded.batch_size}), or --set TINYFUSION_FRAME_CHUNK_SIZE=1."):
        report = evaluate(
            loaded, data, folder=folder, only=PARTS.get(args.split), max_clips=args.max_clips,
            clips_per_caption=args.clips_per_caption, blind=blind, recogniser=args.recogniser,
            recogniser_steps=args.recogniser_steps, command=shlex.join(words), extras=extras,
        )  # fmt: skip
    print(format_report(report))
    print(f"\nwritten: {folder / 'evaluation.json'}\npage: {folder / 'report.html'}")
    for part in report["parts"]:
        print(f"contact sheet: {folder / f'contact_sheet_{part}.png'}")
    return 0
