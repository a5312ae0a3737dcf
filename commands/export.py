"""``export``: a checkpoint as a folder that others can use."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from commands.common import add_command, config_of
from config import ConfigError


def add(commands: argparse._SubParsersAction) -> None:
    """The command and its flags."""
    command = add_command(
        commands, "export", run, "write a model as a folder that others can use", usage="--output FOLDER [flags]"
    )
    command.add_argument("--checkpoint", metavar="PATH", help="default: the latest of the experiment")
    command.add_argument("--output", required=True, metavar="FOLDER", help="where to; its name is the model's")
    command.add_argument("--overwrite", action="store_true", help="replace an exported model that is there")
    command.add_argument("--with_encoder", action="store_true", help="copy the text encoder's files along")
    command.add_argument(
        "--samples", type=int, default=2, metavar="N", help="clips of training captions on the card; default: 2"
    )
    command.add_argument("--push", metavar="OWNER/NAME", help="upload it to the model hub, with the token that is set")
    card = command.add_argument_group("what the model card says")
    card.add_argument("--licence", default="", metavar="NAME", help="of the weights, as hubs call it, as in mit")
    card.add_argument("--data_licence", default="", metavar="TEXT", help="the terms of the training clips")
    card.add_argument(
        "--language", action="append", default=[], metavar="CODE",
        help="a sign language's ISO 639-3 code, as in ase; may be repeated;\ndefault: those that captions name",
    )  # fmt: skip
    card.add_argument(
        "--evaluation", metavar="FILE",
        help="an evaluation.json of these weights; default: found beside\nthe checkpoint or the experiment's samples",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Write the folder and say what is in it."""
    if args.samples < 0:
        raise ConfigError(f"--samples {args.samples}; wanted 0 or more.")
    config = config_of(args)
    from tqdm import tqdm

    from methods.sharing.card import Card, find_report, read_report
    from methods.sharing.export import export, load_content
    from utils.checkpoints.file import config_of as stored_config
    from utils.checkpoints.file import latest_path

    path, folder = Path(args.checkpoint) if args.checkpoint else latest_path(config), Path(args.output)
    content = load_content(path)
    experiment = stored_config(content, path).EXPERIMENT_NAME
    if args.evaluation:
        report = read_report(Path(args.evaluation), sha256=content["sha256"])
    else:
        places = path if path.is_dir() else path.parent, Path(config.SAMPLE_DIR) / experiment
        report = find_report(places, sha256=content["sha256"])
    card = Card(args.licence, args.data_licence, args.language, report)
    silent = not args.samples or not content["captions"]
    with tqdm(desc="sample clips", unit="clip step", dynamic_ncols=True, disable=silent) as bar:
        export(
            content, folder, card, with_encoder=args.with_encoder, num_samples=args.samples,
            overwrite=args.overwrite, on_step=bar.update,
        )  # fmt: skip
    if report is None:
        print("note: no evaluation of these weights was found, and the card says so", file=sys.stderr)
    if args.push:
        from methods.sharing.hub import push

        print(f"pushed: {push(folder, args.push)}")
    print(f"model: {folder}\ncard: {folder / 'README.md'}")
    return 0
