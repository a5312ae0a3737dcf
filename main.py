"""Text2Sign on the command line: words to calls. A user's mistake becomes one clear line and exit code 2.

Each command is a file in ``commands/``. Heavy imports stand inside their ``run``, so that ``--help``, ``config`` and a
typo answer at once.
"""

from __future__ import annotations

import argparse
import os
import re
import sys

from commands import (
    checkpoints,
    evaluate,
    export,
    fix_config,
    inspect_data,
    plan,
    prepare_data,
    reproduce,
    sample,
    serve,
    train,
)
from commands import show_config as settings
from config import UserError
from utils.processes import print_anything, speaks

FLAG = re.compile(r"(?<=^--)[a-z][a-z-]*")  # --num-samples is taken for --num_samples
# In the order of --help:
COMMANDS = (
    plan, train, sample, serve, reproduce, evaluate, export, inspect_data, prepare_data, settings, checkpoints,
    fix_config,
)  # fmt: skip


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line as a namespace whose ``run`` is the command's function and ``typed`` its words."""
    parser = argparse.ArgumentParser(
        prog="python main.py",
        description="Train and sample a text-to-sign-language video diffusion model.",
        epilog="Settings live in config.py; --preset picks a set of them, --set KEY=VALUE changes one. "
        "Begin with: python main.py prepare-data --languages ase, then: python main.py train --preset demo",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    words = [FLAG.sub(lambda flag: flag[0].replace("-", "_"), word) for word in arguments]
    return parser.parse_args(words, argparse.Namespace(typed=words))


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    print_anything()
    args = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    try:
        return args.run(args)
    except UserError as error:
        if speaks() or error.of_this_process:  # under torchrun all of this machine have it, but for that
            print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if speaks():
            print("Interrupted.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
