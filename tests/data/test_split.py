"""utils/split.py: a split that a file decides, and copies of clips."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import pytest

from config import Config, ConfigError, UserError, make_config
from utils.layouts.listing import Row
from utils.split import SplitError, split, split_by_file, without_copies

NAMES = ["ase/ase_A", "ase/ase_A__1", "ase/ase_A__2", "ase/ase_B", "ase/ase_B__1", "gsg/gsg_A"]
COPIES = {"ase/ase_A__1": "ase/ase_A", "ase/ase_A__2": "ase/ase_A", "ase/ase_B__1": "ase/ase_B"}


def divide(
    config: Config, *, splits: Sequence[str] = (), copies: Mapping[str, str] = COPIES
) -> tuple[list[int], list[int]]:
    """(training, held-out) of NAMES."""
    rows = [Row(Path(name), "x", name, split=each) for name, each in zip_longest(NAMES, splits, fillvalue="")]
    found = split(config, rows, copies=copies)
    return found.training, found.held_out


def write(folder: Path, content: object) -> Path:
    path = folder / "held_out.json"
    path.write_text(json.dumps(content))
    return path


def test_the_file_s_groups_are_held_out_with_their_copies(tmp_path: Path) -> None:
    path = write(tmp_path, {"held_out": ["ase/ase_A"], "seed": 3})
    assert split_by_file(NAMES, path) == ([3, 4, 5], [0, 1, 2])


def test_copies_of_held_out_clips_are_neither_trained_on_nor_judged(tmp_path: Path) -> None:
    config = make_config("debug", {"SPLIT_FILE": str(write(tmp_path, {"held_out": ["ase/ase_A"]}))})
    assert divide(config) == ([3, 4, 5], [0])


def test_the_file_decides_instead_of_fraction_and_seed(tmp_path: Path) -> None:
    path = str(write(tmp_path, {"held_out": ["gsg/gsg_A"]}))
    for fraction, seed in ((0.0, 0), (0.5, 1)):
        config = make_config(overrides={"SPLIT_FILE": path, "VALIDATION_FRACTION": fraction, "SPLIT_SEED": seed})
        assert divide(config) == ([0, 1, 2, 3, 4], [5])


def test_a_name_says_nothing_of_copies_and_a_copy_without_its_clip_counts() -> None:
    names = ["hello", "hello__1", "a__1", "b", "b__1"]
    left = without_copies(names, list(range(5)), copies={"a__1": "a", "b__1": "b", "c__1": "c"})
    assert [names[i] for i in left] == ["hello", "hello__1", "a__1", "b"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"held_out": ["ase/ase_C"]}, "holds out 1 groups that are not in DATA_DIR, such as 'ase/ase_C'"),
        ({"held_out": ["ase/ase_A__1"]}, "not in DATA_DIR"),
        ({"held_out": sorted({name.split("__")[0] for name in NAMES})}, "holds out every clip"),
        ({"held_out": "ase/ase_A"}, "no list of names"),
        ({"held_out": [1]}, "no list of names"),
        ({"other": []}, 'no JSON with a list "held_out"'),
        ([], 'no JSON with a list "held_out"'),
    ],
)
def test_a_file_that_does_not_fit_is_an_error(content: object, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=reason):
        split_by_file(NAMES, write(tmp_path, content))


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SplitError, match="cannot be read: No such file"):
        split_by_file(NAMES, tmp_path / "none.json")
    (tmp_path / "text.json").write_text("held out: ase_A")
    with pytest.raises(ConfigError, match="no JSON"):
        split_by_file(NAMES, tmp_path / "text.json")


def test_the_data_s_own_split_decides_and_test_clips_are_in_neither_part(tmp_path: Path) -> None:
    config = make_config("debug", {"VALIDATION_FRACTION": 0.3})
    splits = ["train", "validation", "test", "", "validation", "test"]
    assert divide(config, copies={}, splits=splits) == ([0, 3], [1, 4])
    training, held_out = divide(config, copies={}, splits=["train", "", "test", "", "", "test"])
    assert sorted(training + held_out) == [0, 1, 3, 4] and held_out  # by SPLIT_SEED, as none is named
    by_file = make_config("debug", {"SPLIT_FILE": str(write(tmp_path, {"held_out": ["ase/ase_A"]}))})
    assert divide(by_file, copies={}, splits=splits) == ([3, 4], [0, 1])
    with pytest.raises(SplitError, match="no clip to train on"):
        divide(config, copies={}, splits=["validation"] * 6)


def signed(signers: Sequence[str], *, splits: Sequence[str] = ()) -> list[Row]:
    """A clip of each of the ``signers``, a group each."""
    pairs = zip_longest(signers, splits, fillvalue="")
    return [Row(Path(f"{i}.mp4"), "x", str(i), split=each, signer=who) for i, (who, each) in enumerate(pairs)]


@pytest.mark.parametrize("seed", range(4))
def test_signers_are_kept_apart_and_their_share_is_held_out(seed: int) -> None:
    rows = signed(["ann", "bob", "ann", "cat", "dan", "bob"])
    config = make_config("debug", {"SPLIT_BY": "signer", "VALIDATION_FRACTION": 0.5, "SPLIT_SEED": seed})
    found = split(config, rows, copies={})
    parts = [{rows[i].signer for i in part} for part in (found.training, found.held_out)]
    assert len(parts[0]) == len(parts[1]) == 2 and not parts[0] & parts[1]
    assert sorted(found.training + found.held_out) == list(range(6))


def test_signers_decide_instead_of_the_data_s_validation_and_leave_its_test_alone(tmp_path: Path) -> None:
    rows = signed(["ann", "ann", "bob", "", "bob"], splits=["train", "validation", "train", "test", "validation"])
    config = make_config("debug", {"SPLIT_BY": "signer", "VALIDATION_FRACTION": 0.5})
    found = split(config, rows, copies={})
    assert sorted([found.training, found.held_out]) == [[0, 1], [2, 4]] and found.test == [3]  # whoever is in it
    by_file = replace(config, SPLIT_FILE=str(write(tmp_path, {"held_out": ["1"]})))
    assert split(by_file, rows, copies={}).held_out == [1]


@pytest.mark.parametrize(("signers", "number"), [(["", "", ""], "3 of 3"), (["ann", "", "bob"], "1 of 3")])
def test_clips_whose_signer_nobody_names_cannot_be_split_by_signers(signers: list[str], number: str) -> None:
    with pytest.raises(ConfigError, match=f"no signer of {number} clips"):
        split(make_config("debug", {"SPLIT_BY": "signer"}), signed(signers), copies={})


def test_what_is_held_out_or_for_test_as_well_is_not_trained_on_unless_asked_for() -> None:
    rows = signed([""] * 6, splits=["train", "train", "validation", "test", "train", "test"])
    contents = ["one", "two", "one", "two", "three", "four"]
    config = make_config("debug")
    found = split(config, rows, copies={}, contents=contents)
    assert (found.training, found.held_out, found.test) == ([4], [2], [3, 5]) and found.doubled == {0: 2, 1: 3}
    found = split(replace(config, TRAIN_ON_DOUBLES=True), rows, copies={}, contents=contents)
    assert found.training == [0, 1, 4] and found.doubled == {0: 2, 1: 3}
    with pytest.raises(SplitError, match="2 under train, each held out or for test as well"):
        split(config, rows[:4], copies={}, contents=contents)


def test_what_the_seed_holds_out_is_not_trained_on_under_another_name() -> None:
    config = make_config("debug", {"VALIDATION_FRACTION": 0.5})
    contents = ["same", "same", "a", "b"]
    apart = [
        split(replace(config, SPLIT_SEED=seed), signed([""] * 4), copies={}, contents=contents) for seed in range(8)
    ]
    assert any(found.doubled for found in apart) and not all(found.doubled for found in apart)
    for found in apart:
        assert not {contents[i] for i in found.training} & {contents[i] for i in found.held_out}
        assert sorted([*found.training, *found.held_out, *found.doubled]) == [0, 1, 2, 3]
