"""What a training begins from, and what it prints of it: the checkpoint to go on from, and the clips."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from config import Config
from dataset import TextToSignDataset, told_doubles
from utils.checkpoints import file as checkpoint
from utils.checkpoints import listing as checkpoint_list
from utils.split import Parts

MAX_REMARKS = 10  # on clips in use, that are printed


def read_state(config: Config, resume: Path | None) -> dict[str, object] | None:
    """The checkpoint to go on from; neither it nor a fresh start may overwrite newer work of the experiment.

    Raises:
        CheckpointError: it cannot be used, or newer work is in the way.
    """
    if resume is None:
        found = checkpoint_list.existing(config)
        if found:
            path = "" if found == checkpoint.latest_path(config) else f" {shlex.quote(str(found))}"
            raise checkpoint.CheckpointError(
                f"{found} exists already. Go on with it: add --resume{path}. Start another run beside it: "
                "add --set EXPERIMENT_NAME=NEW_NAME"
            )
        return None
    content = checkpoint.load(resume)
    stored = checkpoint.config_of(content, resume)
    latest = checkpoint.latest_path(config)
    newest = checkpoint_list.summarise(latest).step if latest.is_file() and not latest.samefile(resume) else None
    if newest is not None and newest > content["step"]:
        raise checkpoint.CheckpointError(
            f"{resume} is at step {content['step']:,}, but {latest} is at step {newest:,} and would be replaced. "
            f"Go on beside it: add --set EXPERIMENT_NAME=NEW_NAME, or remove {latest}"
        )
    for line in checkpoint.check_resumable(resume, stored, config):
        print(f"changed: {line}", file=sys.stderr)
    return content


def print_data(data: TextToSignDataset) -> None:
    """Every file that was left out, some remarks, and what is there, on stderr."""
    for problem in data.problems:
        print(f"left out: {problem.text}", file=sys.stderr)
    for remark in data.remarks[:MAX_REMARKS]:
        print(f"note: {remark}", file=sys.stderr)
    if len(data.remarks) > MAX_REMARKS:
        print(f"note: and {len(data.remarks) - MAX_REMARKS} more such notes", file=sys.stderr)
    left_out = f", {len(data.problems)} left out" if data.problems else ""
    print(f"data: {len(data)} clips with {len(set(data.texts))} captions in {data.folder}{left_out}", file=sys.stderr)


def print_doubles(data: TextToSignDataset, parts: Parts, *, trained_on: bool) -> None:
    """Every training clip whose content is in another part as well, on stderr."""
    what = "trained on, though in two parts" if trained_on else "in two parts, so not trained on"
    for line in told_doubles(data, parts):
        print(f"{what}: {line}", file=sys.stderr)


def same_caption(data: TextToSignDataset, training: list[int]) -> str:
    """What it means that all clips to train on have the same caption; empty where they have not."""
    first, *others = {data.texts[i] for i in training}
    if others:
        return ""
    return (
        f"all {len(training)} clips to train on have the caption {first!r}: text teaches nothing (standardised, its "
        "pooled vector is zero and has no gradient), and the model draws the same whatever it is asked for"
    )
