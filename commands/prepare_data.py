"""``prepare-data``: your own videos, or real fingerspelling, letters or spelled words, as clips for training."""

from __future__ import annotations

import argparse
import re
import shlex
from functools import partial
from pathlib import Path

from commands.common import add_command, config_of
from config import Config, ConfigError
from utils.captions import capital

FPS = 8  # frames per second of drawings


def add(commands: argparse._SubParsersAction) -> None:
    """The command and its flags."""
    command = add_command(commands, "prepare-data", run, "make clips for training, of videos or of fingerspelling")
    command.add_argument(
        "--videos", metavar="FOLDER",
        help="your own clips: MP4, MOV, MKV, WebM, AVI, GIF, WebP or folders of frames, with NAME.txt beside each,\n"
        "a metadata.csv, or as How2Sign, PHOENIX-2014-T, WLASL, ASL Citizen, AUTSL, CSL-Daily, LSA64, INCLUDE lie",
    )  # fmt: skip
    command.add_argument(
        "--layout", default="auto", metavar="NAME", help="of --videos, where auto takes it for another"
    )
    command.add_argument(
        "--crop", choices=("signer", "set", "centre", "pose"),
        help="of --videos: the square around all that moves in a clip (default); one square around all that moves in\n"
        "any, for clips of one camera, so that places stay comparable; the middle of the picture; or the square\n"
        "around shoulders and hands (default with --draw), which takes requirements-pose.txt",
    )  # fmt: skip
    command.add_argument(
        "--draw", choices=("pose",),
        help="of --videos: hands and arms drawn as the embedded letters are, instead of the video, so that nobody is\n"
        "recognised; takes requirements-pose.txt",
    )  # fmt: skip
    command.add_argument(
        "--format",
        choices=("mp4", "gif"),
        default="mp4",
        help="of --videos: what is written; default: mp4",
    )
    command.add_argument("--keep_rest", action="store_true", help="of --videos: keep the rest at both ends")
    command.add_argument(
        "--languages", nargs="+", metavar="CODE", help="ISO 639-3 codes, for example: ase asq gsg; default: all"
    )
    chosen = command.add_mutually_exclusive_group()
    chosen.add_argument(
        "--letters", metavar="LETTERS", help="only these, for example ABC or A-Z; default: all that a language has"
    )
    chosen.add_argument(
        "--words", metavar="FILE",
        help="instead of letters, spelled words: one a line in FILE; written to OUTPUT/CODE_words.\n"
        "Without --languages: ase",
    )  # fmt: skip
    chosen.add_argument(
        "--sentences", metavar="FILE|random:N",
        help="instead of letters, the signs of --clips joined into sentences: one a line in FILE, or N drawn by SEED,\n"
        "so that every sign stands in every place equally often",
    )  # fmt: skip
    _add_sentences(command)
    command.add_argument(
        "--copies", type=int, default=0, metavar="N",
        help="of each clip N more, by slightly other cameras and hands, which SEED decides; default: 0",
    )  # fmt: skip
    command.add_argument("--output", default="training_data", metavar="FOLDER", help="default: training_data")


def _add_sentences(command: argparse.ArgumentParser) -> None:
    """What goes with --sentences."""
    command.add_argument(
        "--clips", metavar="FOLDER", help="of --sentences: clips of single signs of one signer, laid out as --videos"
    )
    command.add_argument(
        "--lengths", type=int, nargs="+", default=[2, 3], metavar="N",
        help="of --sentences random:N: signs in a sentence; default: 2 3",
    )  # fmt: skip
    command.add_argument(
        "--held_out_pairs", type=float, default=0.0, metavar="X",
        help="of --sentences: the share of the pairs of signs that no sentence for training has; default: 0",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Write OUTPUT/LANGUAGE/*.gif (of words OUTPUT/LANGUAGE_words) with captions."""
    config = config_of(args)
    if args.copies < 0:
        raise ConfigError(f"--copies {args.copies}; wanted 0 or more.")
    if args.videos is not None:
        return _prepare_videos(args, config)
    if args.sentences is not None or args.clips is not None:
        return _prepare_sentences(args, config)
    from utils.fingerspelling import folder, lexicon, words

    output = Path(args.output)
    look = folder.Look(config.IMAGE_SIZE, config.NUM_FRAMES, FPS, copies=args.copies, seed=config.SEED)
    if args.words is not None:
        report = words.render_words(output, Path(args.words), look=look, languages=args.languages or ["ase"])
    else:
        letters = None if args.letters is None else letter_set(args.letters)
        report = lexicon.render_lexicon(output, look, languages=args.languages, letters=letters)
    print(report)
    folders = [output / name for name in report.folders]
    if folders:
        print(f"Clips are in {', '.join(map(str, folders))}")
        data = shlex.quote(f"DATA_DIR={folders[0] if len(folders) == 1 else output}")
        preset = "" if args.preset == "default" else f"--preset {args.preset} "
        print(f"Next: python main.py train {preset}--set {data}")
    return 0


def _prepare_videos(args: argparse.Namespace, config: Config) -> int:
    """Write every clip of a folder, and the metadata.csv that lists them."""
    if args.languages or args.letters or args.words or args.copies:
        raise ConfigError("--videos takes neither --languages, --letters, --words nor --copies; leave them out.")
    from utils.reading.prepare import Settings, prepare_videos

    output = Path(args.output)
    if output.is_dir() and Path(args.videos).is_dir() and output.samefile(args.videos):
        raise ConfigError(f"--output {output} is the folder of the videos; wanted another one.")
    draw = args.draw is not None
    crop = args.crop or ("pose" if draw else "signer")
    chosen = Settings(config.IMAGE_SIZE, form=args.format, crop=crop, trim=not args.keep_rest, draw=draw)
    report = prepare_videos(Path(args.videos), output, chosen, layout=args.layout)
    print(report)
    if not report.written and not report.kept:
        raise ConfigError(f"--videos {args.videos} holds no clip that can be used; each reason stands above.")
    print(f"Next: python main.py train --set {shlex.quote(f'DATA_DIR={output}')}")
    return 0


def _prepare_sentences(args: argparse.Namespace, config: Config) -> int:
    """Write the clips of sentences, and the metadata.csv that lists them with each sign's span."""
    if not (args.sentences and args.clips) or args.languages or args.copies or args.draw or args.keep_rest:
        raise ConfigError("--sentences takes --clips, and neither --languages, --copies, --draw nor --keep_rest.")
    if args.crop not in (None, "set", "centre") or not 0 <= args.held_out_pairs < 1:
        raise ConfigError("--sentences takes --crop set or centre, and --held_out_pairs from 0 to below 1.")
    from utils.sentences.draw import draw_sentences, read_sentences
    from utils.sentences.folder import Joining, prepare_sentences

    output, clips = Path(args.output), Path(args.clips)
    if output.is_dir() and clips.is_dir() and output.samefile(clips):
        raise ConfigError(f"--output {output} is the folder of the clips; wanted another one.")
    drawn = re.fullmatch(r"random:(\d+)", args.sentences)
    pairs = {"held_out_pairs": args.held_out_pairs, "seed": config.SEED}
    if drawn:
        choose = partial(draw_sentences, number=int(drawn[1]), lengths=args.lengths, **pairs)
    else:
        choose = partial(read_sentences, path=Path(args.sentences), **pairs)
    report = prepare_sentences(
        clips, output, choose, Joining(config.IMAGE_SIZE, args.format, args.crop or "set"), layout=args.layout
    )
    print(report)
    print(f"Next: python main.py train --set {shlex.quote(f'DATA_DIR={output}')}")
    return 0


def letter_set(text: str) -> frozenset[str]:
    """``ABC`` or ``A-Z`` or ``A-CXY`` -> the capital letters.

    Raises:
        ConfigError: empty, or a range that runs backwards or has no end.
    """

    def between(ends: re.Match[str]) -> str:
        return "".join(map(chr, range(ord(ends[1]), ord(ends[2]) + 1))) or "-"  # runs backwards

    found = re.sub(r"(\w)-(\w)", between, text)
    if not found.isalnum():
        raise ConfigError(f"--letters {text!r}; wanted letters such as ABC, or a range such as A-Z.")
    return frozenset(map(capital, found))
