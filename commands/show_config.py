"""``config``: the effective settings. Standard library only, so that it answers at once."""

from __future__ import annotations

import argparse

import config as settings
from commands.common import add_command, config_of
from config import Config


def add(commands: argparse._SubParsersAction) -> None:
    """The command and its flags."""
    add_command(commands, "config", run, "show the effective settings and what differs from the defaults")


def run(args: argparse.Namespace) -> int:
    """Every setting with its value; changed ones are marked and show the default."""
    config = config_of(args)
    changed = settings.differences(config, Config())
    width = max(map(len, settings.field_types()))
    for name, value in config.to_dict().items():
        mark = f"   * default {changed[name][0]!r}" if name in changed else ""
        print(f"{name:<{width}}  {value!r}{mark}")
    print(f"{'INPUT_SHAPE':<{width}}  {config.INPUT_SHAPE}   (channels, frames, height, width)")
    print(f"\npreset {args.preset}; {len(changed)} of {len(settings.field_types())} settings differ from the defaults")
    return 0
