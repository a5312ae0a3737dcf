"""Text2Sign on the command line: words to calls. A user's mistake becomes one clear line and exit code 2.

Heavy imports stand inside the commands, so that ``--help``, ``config`` and a typo answer at once.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from pathlib import Path

import config as settings
from config import Config, ConfigError, UserError


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line as a namespace whose ``run`` is the command's function."""
    parser = argparse.ArgumentParser(
        prog="python main.py",
        description="Train and sample a text-to-sign-language video diffusion model.",
        epilog="Settings live in config.py; --preset picks a set of them, --set KEY=VALUE changes one. "
        "Begin with: python main.py prepare-data --languages ase, then: python main.py train --preset demo",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_train(commands)
    _add_sample(commands)
    _add_evaluate(commands)
    _add_prepare_data(commands)
    _add_config(commands)
    _add_checkpoints(commands)
    _add_fix_config(commands)
    return parser.parse_args(arguments)


def _command(commands: argparse._SubParsersAction, name: str, run: object, text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", formatter_class=argparse.RawTextHelpFormatter
    )
    command.set_defaults(run=run)
    command.add_argument("--preset", default="default", metavar="NAME", help=f"one of: {', '.join(settings.PRESETS)}")
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments",
        help="change one setting, for example --set BATCH_SIZE=2; may be repeated",
    )  # fmt: skip
    return command


def _config(args: argparse.Namespace) -> Config:
    return settings.make_config(args.preset, settings.parse_assignments(args.assignments))


# ---- train -----------------------------------------------------------------------------------------------------------


def _add_train(commands: argparse._SubParsersAction) -> None:
    command = _command(commands, "train", train, "train a model, or go on with --resume")
    command.add_argument(
        "--resume", nargs="?", const="", default=None, metavar="PATH",
        help="go on from the experiment's latest checkpoint, or from PATH",
    )  # fmt: skip


def train(args: argparse.Namespace) -> int:
    """Train to the end; 130 after an interruption, as shells expect."""
    config = _config(args)
    from methods.previews import folder as preview_folder
    from methods.trainer import Trainer
    from utils import checkpoint_list
    from utils.checkpoint import latest_path

    latest = latest_path(config)
    resume = None if args.resume is None else Path(args.resume or latest)
    trainer = Trainer(config, resume=resume)
    if trainer.step >= trainer.num_steps:
        checkpoint_list.keep(config)  # names that a kill prevented
        print(f"{resume} is at step {trainer.step:,} of {trainer.num_steps:,}: finished. Raise NUM_EPOCHS to go on.")
        return 0
    finished = trainer.run()
    print(f"{'Finished' if finished else 'Stopped'} at step {trainer.step:,} of {trainer.num_steps:,}; saved {latest}")
    if trainer.validation_loss is not None:
        print(f"Validation loss: {trainer.validation_loss:.4f} (averaged weights, held-out clips)")
    if made := len(list(preview_folder(config).glob("*.gif"))):
        print(f"Previews: {made} GIFs in {preview_folder(config)}")
    logs = Path(config.LOG_DIR) / config.EXPERIMENT_NAME
    print(f"Logs: {logs}, scalars in metrics.jsonl; see them: tensorboard --logdir {shlex.quote(str(logs))}")
    if finished:
        print(f"Next: python main.py evaluate --checkpoint {latest}")
        return 0
    again = "".join(f" --set {shlex.quote(item)}" for item in args.assignments)
    preset = "" if args.preset == "default" else f" --preset {args.preset}"
    print(f"Go on with: python main.py train{preset}{again} --resume")
    return 130


# ---- sample ----------------------------------------------------------------------------------------------------------


def _add_sample(commands: argparse._SubParsersAction) -> None:
    command = _command(commands, "sample", sample, "write clips for prompts as GIF files")
    command.add_argument("--checkpoint", metavar="PATH", help="default: the latest of the experiment")
    command.add_argument("--text", action="append", required=True, metavar="PROMPT", help="may be repeated")
    command.add_argument("--num_samples", "--num-samples", type=int, default=1, metavar="N", help="clips per prompt")
    command.add_argument("--eta", type=float, metavar="X", help="0: deterministic DDIM, 1: as random as DDPM")
    command.add_argument(
        "--guidance_scale", "--guidance-scale", type=float, metavar="X",
        help="0 ignores the text, 1 is plain conditioning, > 1 exaggerates it",
    )  # fmt: skip
    command.add_argument("--steps", type=int, metavar="N", help="denoising steps, at most TIMESTEPS of the model")
    command.add_argument("--sampler", metavar="NAME", help="ddim, ddpm, or dpm++: deterministic, for few steps")
    command.add_argument("--seed", type=int, metavar="N", help="the same seed gives the same clip, whatever the batch")
    command.add_argument("--fps", type=int, metavar="N", help="frames per second of the written GIF")
    command.add_argument("--output", metavar="FOLDER", help="default: generated_samples/EXPERIMENT/samples")
    command.add_argument("--batch_size", "--batch-size", type=int, default=8, metavar="N", help="clips at a time")


MAX_PROMPT_BYTES = 10_000  # as for captions
SAMPLING_FLAGS = {
    "eta": "ETA", "guidance_scale": "GUIDANCE_SCALE", "steps": "INFERENCE_TIMESTEPS", "sampler": "SAMPLER",
    "seed": "SEED", "fps": "FPS",
}  # fmt: skip


def sample(args: argparse.Namespace) -> int:
    """Write ``num_samples`` clips for each prompt and print their paths."""
    prompts = [" ".join(text.split()) for text in dict.fromkeys(args.text)]
    if not all(prompts):
        raise ConfigError("--text is empty; wanted a prompt, for example --text hello")
    longest = max(len(prompt.encode()) for prompt in prompts)
    if longest > MAX_PROMPT_BYTES:
        raise ConfigError(f"--text has {longest:,} bytes; wanted a prompt of at most {MAX_PROMPT_BYTES:,}.")
    if args.num_samples < 1 or args.batch_size < 1:
        found = f"--num_samples {args.num_samples} --batch_size {args.batch_size}"
        raise ConfigError(f"{found}; wanted at least 1 of each.")
    if args.output and Path(args.output).exists() and not Path(args.output).is_dir():
        raise ConfigError(f"--output {args.output} is a file; wanted a folder for the clips.")
    flags = {key: getattr(args, flag) for flag, key in SAMPLING_FLAGS.items() if getattr(args, flag) is not None}
    loaded = _load(args, flags)
    _tell(loaded)
    from tqdm import tqdm

    from methods.sampler import Request, generate, sampling_settings, write_clips

    config = loaded.config
    requests = [Request(prompt, config.SEED, index) for prompt in prompts for index in range(args.num_samples)]
    total = len(requests) * config.INFERENCE_TIMESTEPS
    with tqdm(total=total, desc="sampling", unit="clip step", dynamic_ncols=True) as bar:
        clips = generate(
            loaded.model, loaded.encoder, requests, **sampling_settings(config), batch_size=args.batch_size,
            on_step=bar.update,
        )  # fmt: skip
    folder = Path(args.output) if args.output else Path(config.SAMPLE_DIR) / config.EXPERIMENT_NAME / "samples"
    for path in write_clips(folder, requests, clips, config=config, step=loaded.step, fps=config.FPS):
        print(path)
    return 0


def _load(args: argparse.Namespace, overrides: dict[str, object]) -> object:
    """The model of ``--checkpoint``, or of the configured experiment; --set overrides what the checkpoint stored."""
    assigned = settings.parse_assignments(args.assignments)
    place = {key: value for key, value in assigned.items() if key in ("EXPERIMENT_NAME", "CHECKPOINT_DIR")}
    config = settings.make_config(args.preset, place)
    from methods.sampler import load_model
    from utils.checkpoint import latest_path

    return load_model(Path(args.checkpoint) if args.checkpoint else latest_path(config), {**assigned, **overrides})


def _tell(loaded: object) -> None:
    """One line about the model in use, once it and the data are read, so that a mistake stays the only line."""
    config, device = loaded.config, loaded.model.clip_mean.device
    found = f"{loaded.path}, step {loaded.step:,}, {config.MODEL_NAME}, averaged weights, {device}"
    print(f"model: {found}", file=sys.stderr)


# ---- evaluate --------------------------------------------------------------------------------------------------------


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    command = _command(commands, "evaluate", evaluate, "measure whether a model obeys its text")
    command.add_argument("--checkpoint", metavar="PATH", help="default: the latest of the experiment")
    command.add_argument("--data", metavar="FOLDER", help="clips and captions; default: those it was trained on")
    command.add_argument("--max_clips", "--max-clips", type=int, default=64, metavar="N", help="at most so many clips")
    command.add_argument(
        "--clips_per_caption", "--clips-per-caption", type=int, default=4, metavar="N", help="generated for retrieval"
    )
    command.add_argument("--output", metavar="FOLDER", help="default: generated_samples/EXPERIMENT/evaluation_stepN")


def evaluate(args: argparse.Namespace) -> int:
    """Print the table of scores; write them as JSON beside a contact sheet and the generated clips."""
    if args.max_clips < 2:
        raise ConfigError(f"--max_clips {args.max_clips}; wanted at least 2, since one clip cannot be confused.")
    if args.clips_per_caption < 1:
        raise ConfigError(f"--clips_per_caption {args.clips_per_caption}; wanted at least 1.")
    loaded = _load(args, {"DATA_DIR": args.data} if args.data else {})
    from dataset import load_dataset
    from methods.evaluator import evaluate as run_evaluation
    from methods.evaluator import format_report

    config = loaded.config
    data = load_dataset(config)
    _tell(loaded)
    for problem in data.problems:
        print(f"left out: {problem}", file=sys.stderr)
    default = Path(config.SAMPLE_DIR) / config.EXPERIMENT_NAME / f"evaluation_step{loaded.step:06d}"
    folder = Path(args.output) if args.output else default
    report = run_evaluation(
        loaded, data, folder=folder, max_clips=args.max_clips, clips_per_caption=args.clips_per_caption
    )
    print(format_report(report))
    print(f"\nwritten: {folder / 'evaluation.json'}\ncontact sheet: {folder / 'contact_sheet.png'}")
    return 0


# ---- prepare-data ----------------------------------------------------------------------------------------------------


def _add_prepare_data(commands: argparse._SubParsersAction) -> None:
    command = _command(commands, "prepare-data", prepare_data, "render real signers' fingerspelling as GIF + TXT pairs")
    command.add_argument(
        "--languages", nargs="+", metavar="CODE", help="ISO 639-3 codes, for example: ase asq gsg; default: all"
    )
    command.add_argument("--image-size", "--image_size", type=int, metavar="PX", help="default: IMAGE_SIZE")
    command.add_argument("--num-frames", "--num_frames", type=int, metavar="N", help="default: NUM_FRAMES")
    command.add_argument("--output", default="training_data", metavar="FOLDER", help="default: training_data")


def prepare_data(args: argparse.Namespace) -> int:
    """Write OUTPUT/LANGUAGE/*.gif with captions; what exists already is kept."""
    flags = {"IMAGE_SIZE": args.image_size, "NUM_FRAMES": args.num_frames}
    given = {key: value for key, value in flags.items() if value is not None}
    assigned = settings.parse_assignments(args.assignments)
    config = settings.make_config(args.preset, {**assigned, **given})
    from utils.fingerspelling import render_lexicon

    report = render_lexicon(
        Path(args.output), languages=args.languages, image_size=config.IMAGE_SIZE, num_frames=config.NUM_FRAMES,
        fps=config.FPS,
    )  # fmt: skip
    print(report)
    folders = sorted({Path(args.output) / name.split("_")[0] for name in (*report.written, *report.reused)})
    if folders:
        print(f"Clips are in {', '.join(map(str, folders))}")
        print(f"Next: python main.py train{_to_train_on(folders[0] if len(folders) == 1 else Path(args.output), args)}")
    return 0


def _to_train_on(data: Path, args: argparse.Namespace) -> str:
    """What ``train`` must be told to read ``data``: the demo's own folder has its preset."""
    if args.preset in ("default", "demo") and data == Path(settings.PRESETS["demo"]["DATA_DIR"]):
        return " --preset demo"
    preset = "" if args.preset == "default" else f" --preset {args.preset}"
    return f"{preset} --set {shlex.quote(f'DATA_DIR={data}')}"


# ---- config, checkpoints, fix-config ---------------------------------------------------------------------------------


def _add_config(commands: argparse._SubParsersAction) -> None:
    _command(commands, "config", show_config, "show the effective settings and what differs from the defaults")


def show_config(args: argparse.Namespace) -> int:
    """Every setting with its value; changed ones are marked and show the default."""
    config = _config(args)
    changed = settings.differences(config, Config())
    width = max(map(len, settings.field_types()))
    for name, value in config.to_dict().items():
        mark = f"   * default {changed[name][0]!r}" if name in changed else ""
        print(f"{name:<{width}}  {value!r}{mark}")
    print(f"{'INPUT_SHAPE':<{width}}  {config.INPUT_SHAPE}   (channels, frames, height, width)")
    print(f"\npreset {args.preset}; {len(changed)} of {len(settings.field_types())} settings differ from the defaults")
    return 0


def _add_checkpoints(commands: argparse._SubParsersAction) -> None:
    command = _command(commands, "checkpoints", list_checkpoints, "list the checkpoints of all experiments")
    command.add_argument("--json", action="store_true", help="for machines: a list of objects")
    command.add_argument("--verify", action="store_true", help="read every byte, as loading does")


def list_checkpoints(args: argparse.Namespace) -> int:
    """One line a file; damaged ones are listed with the reason."""
    folder = _config(args).CHECKPOINT_DIR
    from utils import checkpoint_list

    found = [checkpoint_list.summarise(path, verify=args.verify) for path in checkpoint_list.find(folder)]
    if args.json:
        print(json.dumps(checkpoint_list.as_json(found), indent=2))
    elif found:
        print(checkpoint_list.table(found))
    else:
        print(f"No checkpoints in {folder}/. Make one: python main.py train")
    return 0


def _add_fix_config(commands: argparse._SubParsersAction) -> None:
    command = _command(commands, "fix-config", fix_config, "make config.py fit the model in a checkpoint")
    command.add_argument("--checkpoint", required=True, metavar="PATH")
    command.add_argument("--dry-run", action="store_true", help="show the change, write nothing")
    command.add_argument("--file", default=settings.__file__, metavar="PATH", help="default: the project's config.py")


def fix_config(args: argparse.Namespace) -> int:
    """Rewrite the model keys' literals in config.py, show the diff, keep a backup."""
    from methods.recognise import known_keys, stored_config
    from utils.config_file import fit, read_source, replace_file, unified_diff

    path, file = Path(args.checkpoint), Path(args.file)
    stored, unknown = stored_config(path)
    if unknown:
        print(f"{path} has lost its settings; its tensors are those of {stored.MODEL_NAME}.")
        print(f"Nothing in them shows, so see for yourself: {', '.join(unknown)}\n")
    old = read_source(file)
    new = fit(old, stored, known_keys(stored, unknown))
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


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    args = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    try:
        return args.run(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
