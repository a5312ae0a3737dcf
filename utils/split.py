"""Which clips train and which are held out, what belongs together, and the order of an epoch: by what is listed alone.

A name ``GROUP__REST`` puts a clip into a group (a signer, a source video) that the split keeps together; or the signers
that the data name are kept apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from config import Config, ConfigError, UserError
from utils.layouts.listing import Row
from utils.runtime import generator


class SplitError(UserError):
    """The split's file is not there, or was written for other clips."""


class SignerError(SplitError, ConfigError):
    """SPLIT_BY=signer, and the data do not name them."""


@dataclass(frozen=True)
class Parts:
    """Indices of the clips to train on, of those held out, and of those that the data keep for test.

    ``doubled``: of each training clip whose very content is that of one held out or for test the index of that one.
    """

    training: list[int]
    held_out: list[int]
    test: list[int]
    doubled: dict[int, int]


def split(config: Config, rows: Sequence[Row], *, copies: Mapping[str, str], contents: Sequence[str] = ()) -> Parts:
    """By SPLIT_FILE if one is named, else as the data's own splits say, else by SPLIT_SEED.

    With SPLIT_BY=signer the data's own say what is for test alone: signers may be in both of their other parts.

    ``contents``: equal for clips that are the same. One that is held out or for test too is not trained on, unless
    TRAIN_ON_DOUBLES.
    In no part are ``copies`` (name -> that of its clip) of a clip held out or for test, which only count it again.

    Raises:
        ConfigError: as ``split_by_file``.
        SplitError: as there, the data name no clip to train on, or not who signs.
    """
    names = [row.name for row in rows]
    tried = [i for i, row in enumerate(rows) if row.split != "test"]
    test = [i for i, row in enumerate(rows) if row.split == "test"]
    training, held_out = ([tried[i] for i in part] for part in _split(config, [rows[i] for i in tried]))
    others = {contents[i]: i for i in (*held_out, *test)} if contents else {}
    doubled = {i: others[contents[i]] for i in training if others and contents[i] in others}
    kept = training if config.TRAIN_ON_DOUBLES else [i for i in training if i not in doubled]
    if not kept:
        also = f"{len(doubled)} under train, each held out or for test as well" if doubled else "none under train"
        raise SplitError(f"The split has no clip to train on: {also}; wanted some that are in no other part.")
    held_out, test = (without_copies(names, part, copies=copies) for part in (held_out, test))
    return Parts(kept, held_out, test, doubled)


def _split(config: Config, rows: list[Row]) -> tuple[list[int], list[int]]:
    """(training, held-out) indices of ``rows``, of which none is for test."""
    names = [row.name for row in rows]
    if config.SPLIT_FILE:
        return split_by_file(names, Path(config.SPLIT_FILE))
    if config.SPLIT_BY == "signer":
        return split_indices(_signers(rows), fraction=config.VALIDATION_FRACTION, seed=config.SPLIT_SEED)
    if any(row.split == "validation" for row in rows):
        held_out = [row.split == "validation" for row in rows]
        return [i for i, held in enumerate(held_out) if not held], [i for i, held in enumerate(held_out) if held]
    groups = [group_of(name) for name in names]
    return split_indices(groups, fraction=config.VALIDATION_FRACTION, seed=config.SPLIT_SEED)


def _signers(rows: list[Row]) -> list[str]:
    unknown = [row.name for row in rows if not row.signer]
    if unknown:
        raise SignerError(
            f"SPLIT_BY=signer, and the data name no signer of {len(unknown)} of {len(rows)} clips, such as "
            f"{unknown[0]!r}; wanted one of each. Name them in a table's column signer, or set SPLIT_BY=group."
        )
    return [row.signer for row in rows]


def split_by_file(names: list[str], path: Path) -> tuple[list[int], list[int]]:
    """(training, held-out) indices; ``path`` is JSON with the names of the held-out groups under "held_out".

    Raises:
        ConfigError: the file holds something else.
        SplitError: there is no such file, a group is not among the clips, or none is left to train on.
    """
    try:
        held_out = json.loads(path.read_text(encoding="utf-8"))["held_out"]
    except OSError as error:
        raise SplitError(f"SPLIT_FILE={path} cannot be read: {error.strerror}; wanted a JSON file") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f'SPLIT_FILE={path} is no JSON with a list "held_out"; wanted names of clips') from error
    if not isinstance(held_out, list) or not all(isinstance(name, str) for name in held_out):
        raise ConfigError(f'SPLIT_FILE={path}: "held_out" is no list of names; wanted such as "ase/ase_A"')
    groups = [group_of(name) for name in names]
    unknown = sorted(set(held_out) - set(groups))
    if unknown:
        raise SplitError(
            f"SPLIT_FILE={path} holds out {len(unknown)} groups that are not in DATA_DIR, such as {unknown[0]!r}; "
            f"wanted names such as {min(groups)!r}. Prepare the clips that it was written for, or name another file."
        )
    if set(groups) <= set(held_out):
        raise SplitError(f"SPLIT_FILE={path} holds out every clip; wanted some to train on")
    return _by_group(groups, set(held_out))


def split_indices(group_of_each: list[str], *, fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """(training, validation) indices: whole groups held out in a seeded order, a function of groups and seed alone.

    At least one group is held out when ``fraction`` > 0 and there are two groups.
    """
    groups = sorted(set(group_of_each))
    num_held_out = min(max(round(fraction * len(groups)), 1), len(groups) - 1) if fraction > 0 else 0
    order = torch.randperm(len(groups), generator=generator(seed, "split"))
    return _by_group(group_of_each, {groups[i] for i in order[:num_held_out].tolist()})


def _by_group(groups: list[str], held_out: set[str]) -> tuple[list[int], list[int]]:
    training = [i for i, group in enumerate(groups) if group not in held_out]
    return training, [i for i, group in enumerate(groups) if group in held_out]


def without_copies(names: list[str], indices: list[int], *, copies: Mapping[str, str]) -> list[int]:
    """``indices`` less the copies of a clip that is among ``names``, which say nothing that it does not."""
    known = set(names)
    return [i for i in indices if copies.get(names[i]) not in known]


def epoch_order(indices: list[int], *, seed: int, epoch: int) -> list[int]:
    """The order of the training clips in an epoch, a pure function of (seed, epoch)."""
    order = torch.randperm(len(indices), generator=generator(seed, "epoch", epoch))
    return [indices[i] for i in order.tolist()]


def group_of(name: str) -> str:
    """``folder/signer3__hello`` -> ``folder/signer3``; a file's name without ``__`` is a group of its own."""
    folder, slash, own = name.rpartition("/")
    return folder + slash + own.split("__", 1)[0]
