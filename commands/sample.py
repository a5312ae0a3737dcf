"""``sample``: prompts to GIF files."""

from __future__ import annotations

import argparse
from pathlib import Path

from commands.common import add_command, load_model_of, tell
from config import ConfigError


def add(commands: argparse._SubParsersAction) -> None:
    """The command and its flags."""
    command = add_command(commands, "sample", run, "write clips for prompts as GIF files")
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


def run(args: argparse.Namespace) -> int:
    """Write ``num_samples`` clips for each prompt and print their paths."""
    prompts = [" ".join(text.split()) for text in dict.fromkeys(args.text)]
    if not all(prompts):
        raise ConfigError("--text is empty; wanted a prompt, for example --text hello")
    try:
        longest = max(len(prompt.encode()) for prompt in prompts)
    except UnicodeEncodeError as error:  # bytes of the command line that are no UTF-8 arrive as halves of characters
        raise ConfigError(f"--text {ascii(error.object)[:60]} is not UTF-8; wanted readable text.") from error
    if longest > MAX_PROMPT_BYTES:
        raise ConfigError(f"--text has {longest:,} bytes; wanted a prompt of at most {MAX_PROMPT_BYTES:,}.")
    if args.num_samples < 1 or args.batch_size < 1:
        found = f"--num_samples {args.num_samples} --batch_size {args.batch_size}"
        raise ConfigError(f"{found}; wanted at least 1 of each.")
    if args.output and Path(args.output).exists() and not Path(args.output).is_dir():
        raise ConfigError(f"--output {args.output} is a file; wanted a folder for the clips.")
    flags = {key: getattr(args, flag) for flag, key in SAMPLING_FLAGS.items() if getattr(args, flag) is not None}
    loaded = load_model_of(args, flags)
    tell(loaded)
    from tqdm import tqdm

    from methods.sampler import Request, generate, provenances, sampling_settings, write_clips

    config = loaded.config
    requests = [Request(prompt, config.SEED, index) for prompt in prompts for index in range(args.num_samples)]
    total = len(requests) * config.INFERENCE_TIMESTEPS
    with tqdm(total=total, desc="sampling", unit="clip step", dynamic_ncols=True) as bar:
        clips = generate(
            loaded.model, loaded.encoder, requests, **sampling_settings(config), batch_size=args.batch_size,
            on_step=bar.update,
        )  # fmt: skip
    folder = Path(args.output) if args.output else Path(config.SAMPLE_DIR) / config.EXPERIMENT_NAME / "samples"
    for path in write_clips(folder, clips, provenances(loaded, requests, batch_size=args.batch_size)):
        print(path)
    return 0
