"""``fix-config``: config.py fitted to the model in a checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path

import config as settings
from commands.common import add_command
from config import model_keys


def add(commands: argparse._SubParsersAction) -> None:
    """The command and its flags."""
    command = add_command(
        commands, "fix-config", run, "make config.py fit the model in a checkpoint",
        usage="--checkpoint PATH [flags]", has_settings=False,
    )  # fmt: skip
    command.add_argument("--checkpoint", required=True, metavar="PATH")
    command.add_argument("--dry_run", action="store_true", help="show the change, write nothing")
    command.add_argument("--file", default=settings.__file__, metavar="PATH", help="default: the project's config.py")
    command.epilog = "Every setting comes from the checkpoint."


def run(args: argparse.Namespace) -> int:
    """Rewrite the model keys' literals in config.py, show the diff, keep a backup."""
    from methods.fix_config import fit, read_source, replace_file, stored_config, unified_diff

    path, file = Path(args.checkpoint), Path(args.file)
    stored, known = stored_config(path)
    unknown = [key for key in model_keys(stored.MODEL_ARCHITECTURE) if key not in known]
    if unknown:
        print(f"{path} has lost its settings; its tensors are those of {stored.MODEL_NAME}.")
        print(f"Nothing in them shows, so see for yourself: {', '.join(unknown)}\n")
    old = read_source(file)
    new = fit(old, stored, known)
    if old == new:
        print(f"{file} fits {path} already.")
        return 0
    print(unified_diff(old, new, file.name))
    if args.dry_run:
        print("Dry run: nothing was written.")
        return 0
    backup = replace_file(file, new)
    print(f"{file} now fits {path}. The old file is {backup}")
    return 0
