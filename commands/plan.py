"""``plan``: will it fit, what takes the memory, how long is a step."""

from __future__ import annotations

import argparse

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
    command.epilog = (
        "Is a GPU of 8 GiB enough, which need not be here?\n"
        "  python main.py plan --preset small --set DEVICE=cuda --memory 8"
    )


def run(args: argparse.Namespace) -> int:
    """Print the plan; 0 whether it fits or not."""
    config = config_of(args)
    if args.memory is not None and not 0 < args.memory < 2**20:
        raise ConfigError(f"--memory {args.memory:g}; wanted GiB above 0, for example --memory 8.")
    from methods.planning.plan import make_plan
    from methods.planning.text import as_text

    print(as_text(make_plan(config, memory=None if args.memory is None else int(args.memory * 2**30))))
    return 0
