"""Which checkpoints there are: the names that an experiment's states are kept under, and the table of all of them.

``latest_checkpoint.pt`` is what is written; the others are further names of a state that was the latest once, without
a second copy on disk. ``keep`` derives them from the files alone, so whatever a kill prevented, the next run makes up.
"""

from __future__ import annotations

import contextlib
import math
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config import Config
from utils.checkpoints.file import CheckpointError, config_of, epoch_path, latest_path, link, load, same_clips
from utils.checkpoints.seal import stated_sha256

BEST = "best_checkpoint.pt"
VALIDATED_BY = ("SPLIT_SEED", "NUM_VALIDATION_CLIPS")  # settings that choose the clips of a validation
NUMBERED = re.compile(r"checkpoint_epoch_(\d{4,})\.pt")


# ---- The names of one experiment's states ---------------------------------------------------------------------------


def best_path(config: Config) -> Path:
    """Where the state with the lowest validation loss is kept."""
    return latest_path(config).with_name(BEST)


def numbered(config: Config) -> dict[int, Path]:
    """Epoch -> path of this experiment's ``checkpoint_epoch_NNNN.pt``, in order."""
    folder = latest_path(config).parent
    found = [(NUMBERED.fullmatch(path.name), path) for path in folder.iterdir()] if folder.is_dir() else []
    return dict(sorted((int(match[1]), path) for match, path in found if match and path.is_file()))


def existing(config: Config) -> Path | None:
    """The file that holds the experiment's newest state, if it has any."""
    candidates = [latest_path(config), *reversed(numbered(config).values()), best_path(config)]
    return next((path for path in candidates if path.exists()), None)


def same_beside(path: Path, sha256: str) -> Path | None:
    """Another checkpoint of the folder of ``path`` that holds the weights of that hash, if there is one."""
    for other in sorted(path.parent.glob("*.pt")):
        with contextlib.suppress(OSError):
            if stated_sha256(other) == sha256:
                return other
    return None


def keep(config: Config) -> None:
    """Give the latest state the names that it deserves, and remove the numbered ones beyond KEEP_CHECKPOINTS.

    Repeating it changes nothing. No latest, or a damaged one, deserves no other name.

    Raises:
        CheckpointError: a name cannot be written.
    """
    latest = latest_path(config)
    try:
        content = load(latest, verify=False)
    except CheckpointError:
        return
    epoch = content["epoch"]
    if content["batch"] != 0 or epoch == 0:
        return
    best = best_path(config)
    if is_best(content, best):
        if doubt := _rival(content, best)[1]:
            print(f"note: {best} is replaced: {doubt}", file=sys.stderr)
        link(latest, best)
    if epoch % config.SAVE_EVERY_EPOCHS == 0:
        link(latest, epoch_path(config, epoch))
        _prune(config, epoch)


def is_best(content: dict[str, Any], best: Path) -> bool:
    """Whether this state was validated, and ``best`` is none, worse, unreadable, or measured on other clips."""
    loss = content["validation_loss"]
    return loss is not None and math.isfinite(loss) and loss < _rival(content, best)[0]


def _rival(content: dict[str, Any], best: Path) -> tuple[float, str]:
    """The validation loss of ``best``; infinity if it has none that may be compared, and what is wrong with it then."""
    if not best.is_file():
        return math.inf, ""
    try:
        before = load(best, verify=False)
    except CheckpointError as error:
        return math.inf, str(error)
    chosen = [{key: state["config"].get(key) for key in VALIDATED_BY} for state in (before, content)]
    if not same_clips(before["data"], content["data"]) or chosen[0] != chosen[1]:
        return math.inf, "its validation loss was measured on other clips"
    return math.inf if before["validation_loss"] is None else before["validation_loss"], ""


def _prune(config: Config, epoch: int) -> None:
    """Remove all but the last KEEP_CHECKPOINTS up to ``epoch``; what is numbered higher is another run's future."""
    past = [path for number, path in numbered(config).items() if number <= epoch]
    for path in past[: -config.KEEP_CHECKPOINTS] if config.KEEP_CHECKPOINTS else []:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            print(f"note: {path} cannot be removed ({error.strerror})", file=sys.stderr)


# ---- The table ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CheckpointSummary:
    """One line of ``python main.py checkpoints``; ``problem`` is empty for a sound file."""

    path: Path
    size_bytes: int
    modified: float  # seconds since 1970
    step: int | None = None
    epoch: int | None = None
    validation_loss: float | None = None
    architecture: str = ""
    problem: str = ""


def summarise(path: Path, *, verify: bool = False) -> CheckpointSummary:
    """Describe a file; an unusable one with its problem.

    What is read is the description and its checksum; ``verify`` reads every byte and number, as loading does.

    Raises:
        FileNotFoundError: it is not there, or no longer.
    """
    stat = path.stat()
    place = (path, stat.st_size, stat.st_mtime)
    try:
        content = load(path, verify=verify)
        config = config_of(content, path)
    except CheckpointError as error:
        path.stat()  # what is gone has no problem
        return CheckpointSummary(*place, problem=str(error))
    facts = (content["step"], content["epoch"], content["validation_loss"])
    return CheckpointSummary(*place, *facts, config.MODEL_NAME)


def find(folder: str | Path, *, verify: bool = False) -> list[CheckpointSummary]:
    """Every checkpoint below ``folder``, by folder and age; one that a training removes meanwhile is none."""
    found = []
    for path in Path(folder).rglob("*.pt"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                found.append(summarise(path, verify=verify))
    return sorted(found, key=lambda one: (one.path.parent, one.modified, one.path.name))


def table(found: list[CheckpointSummary]) -> str:
    """For people: a line a file, unusable ones with the reason."""
    rows = [("step", "epoch", "val loss", "size", "saved at", "architecture", "path")]
    for one in found:
        loss = "-" if one.validation_loss is None else f"{one.validation_loss:.4f}"
        numbers = ("-", "-", "-") if one.problem else (f"{one.step:,}", f"{one.epoch:,}", loss)
        size, saved = f"{one.size_bytes / 2**20:.1f} MiB", time.strftime("%Y-%m-%d %H:%M", time.localtime(one.modified))
        rows.append((*numbers, size, saved, one.architecture or "unusable", one.problem or str(one.path)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join([*map(str.rjust, row[:-1], widths), row[-1]]) for row in rows)
