"""``reproduce``: a written clip made again, and compared bit for bit."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from commands.common import add_command, tell
from config import ConfigError


def add(commands: argparse._SubParsersAction) -> None:
    """The command and its flags."""
    command = add_command(
        commands, "reproduce", run, "make a written clip again and compare it bit for bit",
        usage="FILE [flags]", has_settings=False,
    )  # fmt: skip
    command.add_argument("file", metavar="FILE", help="a clip that sample wrote; its comment says what made it")
    command.add_argument("--checkpoint", metavar="PATH", help="default: the one that made the clip, where it was then")
    command.add_argument("--output", metavar="FILE", help="default: NAME_reproduced beside FILE")
    command.epilog = (
        "Every setting comes from the clip.\nexit code 0: the same bytes; 1: it differs; 2: it cannot be made again"
    )


def run(args: argparse.Namespace) -> int:
    """Write the clip again; 0 if it is the same file, 1 if it differs."""
    file = Path(args.file)
    from methods.sampling import provenance
    from utils import writing

    form = writing.form_at(file)
    stem = file.name if file.is_dir() else file.stem  # dots in a folder's name are of numbers
    output = Path(args.output) if args.output else file.with_name(f"{stem}_reproduced{writing.FORMS[form].suffix}")
    _check_output(file, output, form)
    facts = provenance.read(file)
    checkpoint = Path(args.checkpoint or facts.checkpoint)
    from tqdm import tqdm

    from methods.sampling import reproduce
    from utils.reading.reader import read_frames
    from utils.runtime import enough_memory

    frames, data = read_frames(file), writing.read_parts(file)
    reproduce.check_weights(facts, checkpoint, file)
    loaded = reproduce.load(facts, checkpoint, file)
    tell(loaded)
    if changed := reproduce.surroundings(facts, loaded):
        print(f"note: bits may differ, since the surroundings do: {', '.join(changed)}", file=sys.stderr)
    total = facts.num_steps * facts.batch_size
    cure = f"The clip was made in a batch of {facts.batch_size}, so only a larger device can make its bits again."
    with enough_memory(cure), tqdm(total=total, desc="sampling", unit="clip step", dynamic_ncols=True) as bar:
        clip = reproduce.make_again(loaded, facts, bar.update)
    again = clip.encode(writing.read_comment(file))
    same = again == data
    # if it is another clip than the comment speaks of, it says so itself
    writing.write_parts(output, again if same else clip.parts, form=form)
    how = "" if same else f" {reproduce.difference(read_frames(output), frames)}"
    print(f"{output}: {'the same bytes as' if same else 'differs from'} {file}{how}")
    return 0 if same else 1


def _check_output(file: Path, output: Path, form: str) -> None:
    from utils.writing import FORMS, check_name

    if output.is_dir() and form != "frames":
        example = output / f"again{FORMS[form].suffix}"
        raise ConfigError(f"--output {output} is a folder; wanted a file, for example {example}")
    check_name(output, form)
    if output.exists() and file.exists() and output.samefile(file):
        raise ConfigError(f"--output {output} is the clip itself; wanted another file.")
