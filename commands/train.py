"""``train``: a whole training, or the rest of one."""

from __future__ import annotations

import argparse
import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path

from commands.common import add_command, add_verify, config_of
from config import Config, ConfigError

SMALLER = (
    "Lower BATCH_SIZE, and raise GRADIENT_ACCUMULATION_STEPS as much, or TINYFUSION_FRAME_CHUNK_SIZE; "
    "python main.py plan says what each saves. The last checkpoint is as it was: go on with --resume."
)


def add(commands: argparse._SubParsersAction) -> None:
    """The command and its flags."""
    command = add_command(commands, "train", run, "train a model, or go on with --resume")
    command.epilog = "On N GPUs of this machine: torchrun --nproc_per_node N main.py train (docs/many_gpus.md)"
    command.add_argument(
        "--resume", nargs="?", const="", default=None, metavar="PATH",
        help="go on from the experiment's latest checkpoint, or from PATH",
    )  # fmt: skip
    command.add_argument(
        "--init", metavar="PATH", help="begin with the weights of an exported folder, or of another checkpoint"
    )
    add_verify(command)


def run(args: argparse.Namespace) -> int:
    """Train to the end; 130 after an interruption, as shells expect. Under torchrun this is one of many processes."""
    config = config_of(args)
    from utils.process_group import joined, only_first_speaks
    from utils.runtime import device_of, enough_memory

    with enough_memory(SMALLER), joined(device_of(config)), only_first_speaks(), _alone(config):
        return _train(args, config)


@contextlib.contextmanager
def _alone(config: Config) -> Iterator[None]:
    """The experiment is this run's alone, for as long as the context lasts; of many processes the first holds it."""
    from utils.checkpoints.file import latest_path
    from utils.lock import Lock
    from utils.process_group import on_first

    lock = Lock(
        latest_path(config).with_name("training.lock"),
        work=f"training {config.EXPERIMENT_NAME}",
        otherwise="Train another beside it: --set EXPERIMENT_NAME=NEW_NAME",
    )
    on_first(lock.take)
    try:
        yield
    finally:
        lock.release()


def _train(args: argparse.Namespace, config: Config) -> int:
    from methods.trainer import Trainer
    from utils.checkpoints import listing as checkpoint_list
    from utils.checkpoints.file import latest_path
    from utils.process_group import on_first

    latest = latest_path(config)
    resume = None if args.resume is None else Path(args.resume or latest)
    if args.init and resume:
        raise ConfigError("--init begins a training and --resume goes on with one; wanted one of them.")
    trainer = Trainer(config, resume=resume, init=Path(args.init) if args.init else None, verify=args.verify)
    if trainer.step >= trainer.num_steps:
        on_first(lambda: checkpoint_list.keep(config))  # names that a kill prevented
        print(f"{resume} is at step {trainer.step:,} of {trainer.num_steps:,}: finished. Raise NUM_EPOCHS to go on.")
        return 0
    finished = trainer.run()
    print(f"{'Finished' if finished else 'Stopped'} at step {trainer.step:,} of {trainer.num_steps:,}; saved {latest}")
    if trainer.validation_loss is not None:
        print(f"Validation loss: {trainer.validation_loss:.4f} (averaged weights, held-out clips)")
    _print_what_is_there(config)
    if finished:
        print(f"Next: python main.py evaluate --checkpoint {latest}")
        return 0
    print("Go on with the same command and --resume.")
    return 130


def _print_what_is_there(config: Config) -> None:
    from methods.training.previews import folder as preview_folder

    if made := len(list(preview_folder(config).glob("[!.]*"))):
        print(f"Previews: {made} clips in {preview_folder(config)}")
    logs = Path(config.LOG_DIR) / config.EXPERIMENT_NAME
    print(f"Logs: {logs}, scalars in metrics.jsonl; see them: tensorboard --logdir {shlex.quote(str(logs))}")
