"""``sample``: prompts to clips, few or many."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from commands.common import add_command, add_model, check_at_least_one, load_model_of, tell
from config import ConfigError, UserError
from methods.sampling.prompts import gather
from methods.sampling.provenance import Request
from utils.processes import World, world

if TYPE_CHECKING:
    from methods.sampling.loading import LoadedModel
    from methods.sampling.queue import Queue

SAMPLING_FLAGS = {
    "eta": "ETA", "guidance_scale": "GUIDANCE_SCALE", "steps": "INFERENCE_TIMESTEPS", "sampler": "SAMPLER",
    "seed": "SEED", "fps": "FPS", "format": "CLIP_FORMAT", "scale": "CLIP_SCALE",
}  # fmt: skip

MAX_FAR = 10  # prompts that resemble no training caption, which are told


def add(commands: argparse._SubParsersAction) -> None:
    """The command and its flags."""
    command = add_command(commands, "sample", run, "write clips for prompts", usage="--text PROMPT [flags]")
    what = command.add_argument_group("which clips")
    what.add_argument("--text", action="append", default=[], metavar="PROMPT", help="may be repeated")
    what.add_argument(
        "--prompts_file", metavar="FILE",
        help="UTF-8, one prompt a line; blank lines and those that begin with # are left out;\n- is standard input",
    )  # fmt: skip
    what.add_argument("--num_samples", type=int, default=1, metavar="N", help="clips per prompt; default: 1")
    what.add_argument("--seed", type=int, metavar="N", help="the same seed gives the same clip, whatever the batch")
    how = command.add_argument_group("how (default: as the checkpoint's settings say)")
    how.add_argument("--steps", type=int, metavar="N", help="denoising steps, at most TIMESTEPS of the model")
    how.add_argument(
        "--guidance_scale", type=float, metavar="X",
        help="0 ignores the text, 1 is plain conditioning, > 1 exaggerates it",
    )  # fmt: skip
    how.add_argument("--sampler", metavar="NAME", help="ddim, ddpm, or dpm++: deterministic, for few steps")
    how.add_argument("--eta", type=float, metavar="X", help="of ddim: 0 is deterministic, 1 as random as ddpm")
    how.add_argument("--fps", type=float, metavar="N", help="frames per second; default: of the training clips")
    how.add_argument(
        "--format", metavar="NAME",
        help="gif, mp4 (H.264), webp (animated, lossless), or frames: a folder of PNG files;\n"
        "default: mp4 if the model learned from a camera's clips, else gif",
    )  # fmt: skip
    how.add_argument("--scale", type=int, metavar="N", help="for eyes: each pixel becomes N x N; default: 1")
    add_model(command, "clips")
    command.add_argument(
        "--output", metavar="FOLDER",
        help="default: generated_samples/EXPERIMENT/samples; for one clip also a file, as in hello.mp4",
    )  # fmt: skip
    command.add_argument("--overwrite", action="store_true", help="make clips again that are finished already")
    command.epilog = (
        "Each batch is written as it is done. After an interruption, the same command goes on: it leaves the clips\n"
        "that are finished, of the same prompt, seed, settings and weights. On several GPUs, each with its share:\n"
        "  torchrun --nproc_per_node 4 main.py sample --prompts_file prompts.txt"
    )


def run(args: argparse.Namespace) -> int:
    """Write ``num_samples`` clips for each prompt, but for those that are there, and print the paths of all."""
    process = world()
    given = gather(args.text, args.prompts_file, num_processes=process.size)
    file = _output_file(args, num_clips=len({*given}) * args.num_samples)
    loaded = _load(args, process)
    from methods.sampling.queue import make_queue
    from utils.runtime import enough_memory

    config = loaded.config
    prompts = list(dict.fromkeys(given))
    if process.is_first and len(given) > len(prompts):
        print(f"prompts given again, made once: {len(given) - len(prompts):,}", file=sys.stderr)
    requests = [Request(prompt, config.SEED, index) for prompt in prompts for index in range(args.num_samples)]
    folder = Path(args.output) if args.output else Path(config.SAMPLE_DIR) / config.EXPERIMENT_NAME / "samples"
    todo = make_queue(loaded, requests, folder, overwrite=args.overwrite, process=process, file=file)
    name = str(folder) if process.size == 1 else f"{folder}, process {process.rank + 1} of {process.size}"
    if process.is_first:
        _tell_far(loaded, prompts)
    for reason in todo.replaced:
        print(f"made again: {reason}", file=sys.stderr)
    try:
        with enough_memory(
            f"Lower --batch_size (now {loaded.batch_size}); finished clips stay, and it goes on from them."
        ):
            num_written, whole = _work(loaded, todo, is_first=process.is_first)
    except UserError as error:
        error.of_this_process = True  # each has its own clips
        raise
    if whole:
        print(f"{name}: {num_written:,} clips written, {todo.num_kept:,} skipped", file=sys.stderr)
        return 0
    left = f"{num_written:,} clips written, {todo.num_missing - num_written:,} left"
    how = " without --overwrite" if args.overwrite else ""
    print(f"{name}: interrupted, {left}. Go on with the same command{how}.", file=sys.stderr)
    return 130


def _tell_far(loaded: LoadedModel, prompts: list[str]) -> None:
    """A line for each of the first prompts that resemble no training caption."""
    far = [one for one in loaded.nearness(prompts, num=1) or [] if one.is_far]
    for one in far[:MAX_FAR]:
        print(f"note: {one}", file=sys.stderr)
    if len(far) > MAX_FAR:
        print(f"note: and {len(far) - MAX_FAR:,} more such prompts", file=sys.stderr)


def _output_file(args: argparse.Namespace, *, num_clips: int) -> Path | None:
    """The file that the only clip goes to, if ``--output`` names one; it decides ``--format`` where that is not given.

    Raises:
        ConfigError: it does not fit the other flags, or is there.
        VideoError: it does not fit the format.
    """
    check_at_least_one(args, "num_samples", "batch_size")
    from utils.writing import FORMS, SUFFIXES, check_name, form_named

    output = Path(args.output or "")
    if not args.output or output.is_dir():
        return None
    if output.suffix.lower() not in SUFFIXES:
        if output.exists():
            raise ConfigError(f"--output {output} is a file; wanted a folder for the clips.")
        return None
    if num_clips > 1:
        raise ConfigError(f"--output {output} is a file's name, and {num_clips} clips were asked for; wanted a folder.")
    if output.exists() and not args.overwrite:
        raise ConfigError(f"--output {output} is there. Add --overwrite to replace it, or name another file.")
    if args.format in (None, "auto"):
        args.format = form_named(output)
    if args.format in FORMS:
        check_name(output, args.format)
    return output


def _load(args: argparse.Namespace, process: World) -> LoadedModel:
    flags = {key: getattr(args, flag) for flag, key in SAMPLING_FLAGS.items() if getattr(args, flag) is not None}
    if process.size > 1:
        from utils.runtime import take_gpu

        take_gpu(process.local_rank)
    loaded = load_model_of(args, flags)
    if process.is_first:
        tell(loaded)
    return loaded


def _work(loaded: LoadedModel, todo: Queue, *, is_first: bool) -> tuple[int, bool]:
    """Make what is missing and print every path; how many clips were written, and whether these are all."""
    from tqdm import tqdm

    from methods.sampling.queue import work

    num_written, num_clips = 0, todo.num_kept + todo.num_missing
    total = todo.num_sampled * loaded.config.INFERENCE_TIMESTEPS
    silent = not is_first or not total
    try:
        with tqdm(total=total, desc="sampling", unit="clip step", dynamic_ncols=True, disable=silent) as bar:
            for path, is_new in work(loaded, todo, on_step=bar.update):
                num_written += is_new
                tqdm.write(str(path), file=sys.stdout)  # beside the bar
                sys.stdout.flush()
                bar.set_postfix_str(f"{todo.num_kept + num_written:,} of {num_clips:,} clips", refresh=False)
    except KeyboardInterrupt:
        return num_written, False
    return num_written, True
