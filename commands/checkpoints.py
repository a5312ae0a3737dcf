"""``checkpoints``: what has been saved."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from commands.common import add_command, config_of


def add(commands: argparse._SubParsersAction) -> None:
    """The command and its flags."""
    command = add_command(commands, "checkpoints", run, "list the checkpoints of all experiments")
    command.add_argument("--json", action="store_true", help="for machines: a list of objects")
    command.add_argument("--verify", action="store_true", help="read every byte, as loading does")


def run(args: argparse.Namespace) -> int:
    """One line a file; unusable ones are listed with the reason."""
    folder = config_of(args).CHECKPOINT_DIR
    from utils.checkpoints import listing as checkpoint_list

    found = checkpoint_list.find(folder, verify=args.verify)
    if args.json:
        print(json.dumps([asdict(one) for one in found], indent=2, default=str))
    elif found:
        print(checkpoint_list.table(found))
    else:
        print(f"No checkpoints in {folder}/. Make one: python main.py train")
    return 0
