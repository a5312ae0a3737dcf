"""``plan``: will it fit, what takes the memory, how long is a step."""

from __future__ import annotations

import argparse
import json

from commands.common import add_command, config_of
from config import ConfigError


def add(commands: argparse._SubParsersAction) -> None:
    """The command and its flags."""
    command = add_command(
        commands, "plan", run, "say what a training needs, without weights: memory, time, what to change"
    )
    command.add_argument(
        "--memory", type=float, metavar="GIB", help="memory of the GPU you mean; default: what the device here has"
    )
    command.add_argument(
        "--batch_size", type=int, metavar="N", help="clips that sample makes at a time; default: its own default"
    )
    command.add_argument(
        "--tokens", type=int, metavar="N", help="tokens of a caption; default: the most, TEXT_MAX_LENGTH"
    )
    command.add_argument(
        "--share", type=float, metavar="X",
        help="share of the matmul rate to reckon with, 0 to 1; default: that of a slice of the model, which is timed",
    )  # fmt: skip
    command.add_argument("--json", action="store_true", help="for machines: bytes, seconds, operations")
    command.epilog = (
        "Is a GPU of 8 GiB enough, which need not be here?\n"
        "  python main.py plan --preset small --set DEVICE=cuda --memory 8"
    )


def run(args: argparse.Namespace) -> int:
    """Print the plan; 0 whether it fits or not."""
    config = config_of(args)
    _check(args, config.TEXT_MAX_LENGTH)
    from methods.planning.plan import Question, make_plan
    from methods.planning.text import as_json, as_text

    memory = None if args.memory is None else int(args.memory * 2**30)
    plan = make_plan(config, Question(args.batch_size, args.tokens, memory, args.share))
    print(json.dumps(as_json(plan), indent=2) if args.json else as_text(plan))
    return 0


def _check(args: argparse.Namespace, most_tokens: int) -> None:
    limits = {
        "--memory": (args.memory, lambda x: 0 < x < 2**20, "GiB above 0, for example --memory 8"),
        "--batch_size": (args.batch_size, lambda x: x >= 1, "1 clip or more"),
        "--tokens": (args.tokens, lambda x: 1 <= x <= most_tokens, f"1 to {most_tokens}, the TEXT_MAX_LENGTH"),
        "--share": (args.share, lambda x: 0 < x <= 1, "a share above 0 and at most 1, for example --share 0.5"),
    }
    for flag, (value, within, wanted) in limits.items():
        if value is not None and not within(value):
            raise ConfigError(f"{flag} {value:g}; wanted {wanted}.")
