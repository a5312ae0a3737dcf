"""What the commands share: the flags of all of them, the settings in force, and the model that was asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import config as settings
from config import Config, ConfigError

if TYPE_CHECKING:
    from methods.sampling.loading import LoadedModel


def add_command(
    commands: argparse._SubParsersAction,
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
    *,
    usage: str = "[flags]",
    has_settings: bool = True,
) -> argparse.ArgumentParser:
    """A command whose ``run`` gets the namespace and returns the exit code; if it ``has_settings``, with --preset and
    --set."""
    command = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", usage=f"%(prog)s {usage}",
        formatter_class=argparse.RawTextHelpFormatter,
    )  # fmt: skip
    command.set_defaults(run=run)
    if has_settings:
        command.add_argument(
            "--preset", default="default", metavar="NAME", help=f"one of: {', '.join(settings.PRESETS)}"
        )
        command.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments",
            help="change one setting, as in --set BATCH_SIZE=2; may be repeated",
        )  # fmt: skip
    return command


def add_verify(command: argparse.ArgumentParser) -> None:
    """The flag of commands that read clips."""
    command.add_argument(
        "--verify", action="store_true", help="read all clips again, also those whose size and time are as they were"
    )


def config_of(args: argparse.Namespace) -> Config:
    """The settings that --preset and --set ask for."""
    return settings.make_config(args.preset, settings.parse_assignments(args.assignments))


def add_model(command: argparse.ArgumentParser, what: str) -> None:
    """``--checkpoint``, and ``--batch_size``: how many of ``what`` pass through its model at a time."""
    command.add_argument("--checkpoint", metavar="PATH", help="default: the latest of the experiment")
    command.add_argument(
        "--batch_size", type=int, metavar="N",
        help=f"{what} at a time; memory grows with it\n(default: 8, fewer if clips are larger than 16 frames of 64 px)",
    )  # fmt: skip


def check_at_least_one(args: argparse.Namespace, *flags: str) -> None:
    """Raises:
    ConfigError: one of the flags is given and below 1.
    """
    for flag in flags:
        if (value := getattr(args, flag)) is not None and value < 1:
            raise ConfigError(f"--{flag} {value}; wanted at least 1.")


def load_model_of(args: argparse.Namespace, overrides: dict[str, object]) -> LoadedModel:
    """What ``add_model`` asks for; --set overrides what the checkpoint stored."""
    assigned = settings.parse_assignments(args.assignments)
    place = {key: value for key, value in assigned.items() if key in ("EXPERIMENT_NAME", "CHECKPOINT_DIR")}
    config = settings.make_config(args.preset, place)
    from methods.sampling.loading import load_model
    from utils.checkpoints.file import latest_path

    path = Path(args.checkpoint) if args.checkpoint else latest_path(config)
    return load_model(path, {**assigned, **overrides}, batch_size=args.batch_size or 0)


def tell(loaded: LoadedModel) -> None:
    """One line about the model in use, once it and the data are read, so that a mistake stays the only line."""
    config, device = loaded.config, loaded.model.clip_mean.device
    found = f"{loaded.path}, step {loaded.step:,}, {config.MODEL_NAME}, averaged weights, {device}"
    print(f"model: {found}, {loaded.batch_size} at a time", file=sys.stderr)
