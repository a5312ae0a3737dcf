"""methods/sharing/card.py: what is known stands there, what is not says so, and licences follow the weights."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from config import ConfigError, make_config
from methods.sharing.card import Card, Sample, find_report, languages_of, licence_of, render, training_command
from methods.training.warm_start import PUBLISHED_LICENCE
from tests.evaluation.reports import report as made_report

TEXTS = ["letter A in American Sign Language", "spell a b in Swiss-German Sign Language"]


def content(**changes: object) -> dict[str, object]:
    return {
        "config": make_config("demo").to_dict(), "encoder": {"name": "none"}, "step": 1234, "validation_loss": None,
        "data": {"num_clips": 26}, "origin": {"weights": "scratch"}, "captions": {"texts": TEXTS}, **changes,
    }  # fmt: skip


def front_matter(card: str) -> dict[str, object]:
    import yaml

    _, head, _ = card.split("---\n", 2)
    return yaml.safe_load(head)


def test_what_hubs_read_is_there() -> None:
    card = render(Card(licence="mit"), content(), name="tiny", samples=[Sample("a | b", "samples/0.gif")])
    assert front_matter(card) == {
        "license": "mit", "pipeline_tag": "text-to-video", "library_name": "text2sign", "language": ["ase", "sgg"],
        "tags": ["text2sign", "sign-language", "text-to-video", "video-diffusion"],
    }  # fmt: skip
    assert "| a \\| b | ![a \\| b](samples/0.gif) |" in card and "1,234 steps" in card


def test_what_is_not_known_says_so() -> None:
    card = render(Card(), content(data={}, captions={}), name="tiny", samples=[])
    for words in (
        "Clips: not recorded; distinct captions: not recorded; sign languages: not stated",
        "Weights: the maker has not stated a licence", "the maker has not stated their terms",
        "Loss on held-out clips: not measured", "Not measured. `python main.py evaluate`", "No sample clips were made",
        "Time: not recorded", "Nothing was held out",
    ):  # fmt: skip
        assert words in card


def test_an_evaluation_is_there_with_chance_and_controls() -> None:
    card = render(Card(report=made_report()), content(), name="tiny", samples=[])
    assert "| measure | right | share | 95 % interval | chance | 95 % of guessing |" in card
    assert "**controls, which must fail**" in card and "Not measured. `python" not in card


@pytest.mark.parametrize(
    ("origin", "init", "wanted"),
    [
        ({"weights": "published", "licence": PUBLISHED_LICENCE}, "scratch", PUBLISHED_LICENCE),
        ({"weights": "model", "licence": PUBLISHED_LICENCE}, "scratch", PUBLISHED_LICENCE),
        ({"weights": "scratch"}, "auto", "other"),
        ({}, "auto", PUBLISHED_LICENCE),  # an earlier checkpoint, which may have loaded them
        ({}, "scratch", "other"),
    ],
)
def test_the_licence_of_published_weights_follows(origin: dict[str, str], init: str, wanted: str) -> None:
    config = make_config("default", {"TINYFUSION_INIT": init})
    assert licence_of(Card(), origin, config) == wanted
    if wanted == PUBLISHED_LICENCE:
        with pytest.raises(ConfigError, match="began from published ones"):
            licence_of(Card(licence="mit"), origin, config)
        card = render(Card(), content(origin=origin, config=config.to_dict()), name="tiny", samples=[])
        assert front_matter(card)["license"] == PUBLISHED_LICENCE and "no commercial use" in card


def test_only_an_evaluation_of_these_weights_is_taken(tmp_path: Path) -> None:
    for place, sha256, when in (("old", "aa", 1e9), ("new", "aa", 2e9), ("other", "bb", 2.1e9)):
        (tmp_path / place).mkdir()
        file = tmp_path / place / "evaluation.json"
        file.write_text(json.dumps({"checkpoint_sha256": sha256, "place": place}))
        os.utime(file, (when, when))
    (tmp_path / "evaluation.json").write_text("no JSON")
    assert find_report([tmp_path], sha256="aa")["place"] == "new"
    assert find_report([tmp_path], sha256="cc") is None


def test_the_command_trains_with_the_same_settings() -> None:
    from main import parse_arguments

    config = make_config("demo", {"SEED": 7, "EXPERIMENT_NAME": "my model"})
    words = training_command(config).removeprefix("python main.py ")
    assert words == "train --preset demo --set 'EXPERIMENT_NAME=my model' --set SEED=7"
    import shlex

    from config import parse_assignments

    args = parse_arguments(shlex.split(words))
    assert make_config(args.preset, parse_assignments(args.assignments)) == config


def test_languages_are_those_that_captions_name() -> None:
    assert languages_of([*TEXTS, "hello", "in Klingon Sign Language"]) == ["ase", "sgg"]
