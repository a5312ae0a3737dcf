"""``inspect-data``: what of a folder of clips is used, what is not and why, before anything is trained."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from commands.common import add_command, add_verify, config_of
from config import ConfigError


def add(commands: argparse._SubParsersAction) -> None:
    """The command and its flags."""
    command = add_command(
        commands, "inspect-data", run, "tell what of a folder of clips is used, and what is not and why",
        usage="[FOLDER] [flags]",
    )  # fmt: skip
    command.add_argument("folder", nargs="?", metavar="FOLDER", help="default: DATA_DIR")
    command.add_argument("--layout", metavar="NAME", help="how they lie there; default: DATA_FORMAT")
    command.add_argument("--json", action="store_true", help="for machines: an object, and no contact sheet by itself")
    command.add_argument(
        "--output", metavar="FILE.png", help="the contact sheet of 24 clips; default: contact_sheet_data.png"
    )
    command.add_argument(
        "--quick", action="store_true",
        help="headers and first frames alone: seconds for thousands; bars, stills and later damage are not looked for",
    )  # fmt: skip
    add_verify(command)


def run(args: argparse.Namespace) -> int:
    """Print the ledger and write the sheet; exit code 2 where no clip can be used."""
    config = config_of(args)
    given = {"DATA_DIR": args.folder, "DATA_FORMAT": args.layout}
    config = replace(config, **{key: value for key, value in given.items() if value is not None})
    output = Path(args.output or "contact_sheet_data.png")
    if output.suffix.lower() != ".png":
        raise ConfigError(f"--output {output}; wanted the name of a PNG file.")
    if args.quick and (args.output or args.verify):
        raise ConfigError("--quick decodes no clip; wanted it without --output and --verify.")
    from dataset import load_dataset
    from methods.ledger import Headers, ledger_of, sheet_of
    from models.encoder_files import caption_lengths
    from utils.files import write_file

    data = Headers(config) if args.quick else load_dataset(config, verify=args.verify, may_be_empty=True)
    lengths = caption_lengths(config.TEXT_ENCODER, data.texts) if len(data) else []
    cut = None if lengths is None else [
        name for name, length in zip(data.names, lengths, strict=True) if length > config.TEXT_MAX_LENGTH
    ]  # fmt: skip
    ledger = ledger_of(data, config, cut=cut)
    print(json.dumps(asdict(ledger) | {"num_left_out": ledger.num_left_out}, indent=2) if args.json else ledger)
    if not len(data):
        raise ConfigError(f"{config.DATA_DIR} holds no clip that can be used.")
    if args.output or not (args.json or args.quick):
        write_file(output, lambda file: sheet_of(data).save(file, "PNG"))
        print(f"contact sheet: {output}", file=sys.stderr)
    return 0
