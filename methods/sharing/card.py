"""The model card: what is known of a model in the words that hubs and people read; what is not known says so.

``card.md.j2`` beside this file is its text. No path of the machine gets in, and of captions only trained ones.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from config import VERSION, Config, ConfigError, differences, from_dict, make_config
from methods.evaluation.measures import (
    PART_NAMES,
    SCORE_HEADER,
    Report,
    figure_rows,
    measured_parts,
    score_cells,
    score_rows,
)
from methods.evaluation.verdict import verdict
from methods.training.warm_start import published_licence
from presets import PRESETS
from utils.captions import LANGUAGES

NOT_STATED = "other"  # what hubs call a licence that is none of theirs
FOLDERS = ("CHECKPOINT_DIR", "LOG_DIR", "SAMPLE_DIR", "CACHE_DIR", "DEVICE")  # change nothing of a model


class Sample(NamedTuple):
    """A clip that the card shows: its prompt, and its file in the folder."""

    prompt: str
    file: str


@dataclass(frozen=True)
class Card:
    """What only a person or another file knows: licences, languages (ISO 639-3), and the evaluation's report."""

    licence: str = ""
    data_licence: str = ""
    languages: list[str] = field(default_factory=list)
    report: Report | None = None


def read_report(path: Path, *, sha256: str) -> Report:
    """An evaluation.json of the weights ``sha256``.

    Raises:
        ConfigError: it cannot be read, or is of other weights.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"--evaluation {path} cannot be read as JSON ({error}).") from error
    if not isinstance(report, dict) or report.get("checkpoint_sha256") != sha256:
        raise ConfigError(f"--evaluation {path} is of other weights. Run python main.py evaluate on these.")
    return report


def find_report(places: Iterable[Path], *, sha256: str) -> Report | None:
    """The newest evaluation.json of these weights in or directly below ``places``."""
    found = [path for place in places for path in [place / "evaluation.json", *place.glob("*/evaluation.json")]]
    for path in sorted(filter(Path.is_file, found), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            return read_report(path, sha256=sha256)
        except ConfigError:
            continue
    return None


def render(card: Card, content: dict[str, Any], *, name: str, samples: list[Sample]) -> str:
    """README.md of an exported folder called ``name``.

    Raises:
        ConfigError: a licence that the published weights do not allow.
    """
    config = from_dict(content["config"])
    licence = licence_of(card, content["origin"], config)
    texts = (content.get("captions") or {}).get("texts", [])
    return _template().render(
        name=name,
        licence=licence,
        card=card,
        config=config,
        content=content,
        published=published_licence(content["origin"], config),
        languages=card.languages or languages_of(texts),
        num_captions=len(texts),
        prompt=texts[0] if texts else "hello",
        samples=samples,
        command=training_command(config),
        report=card.report,
        verdict=verdict(card.report) if card.report else None,
        tables=_tables(card.report) if card.report else [],
        version=VERSION,
    )


def licence_of(card: Card, origin: dict[str, str], config: Config) -> str:
    """The licence of the weights; that of the published ones follows every model that began from them.

    Raises:
        ConfigError: another one was asked for there.
    """
    published = published_licence(origin, config)
    if published and card.licence not in ("", published):
        raise ConfigError(f"--licence {card.licence}: these weights began from published ones, which are {published}.")
    return published or card.licence or NOT_STATED


def languages_of(texts: Iterable[str]) -> list[str]:
    """ISO 639-3 codes of the sign languages that captions name."""
    names = {name: code for code, name in LANGUAGES.items()}
    found = {match[1] for text in texts for match in re.finditer(r"(\S+) Sign Language", text)}
    return sorted(names[name] for name in found & names.keys())


def training_command(config: Config) -> str:
    """A command that trains with these settings: the nearest preset and what differs from it, folders apart."""

    def changes(preset: str) -> dict[str, Any]:
        changed = differences(config, make_config(preset))
        return {key: now for key, (_, now) in changed.items() if key not in FOLDERS and key != "DATA_DIR"}

    preset, changed = min(((name, changes(name)) for name in PRESETS), key=lambda pair: len(pair[1]))
    words = ["python", "main.py", "train", "--preset", preset]
    words += [word for key, value in changed.items() for word in ("--set", f"{key}={value}")]
    return shlex.join(words)


def _tables(report: Report) -> list[tuple[str, list[str], list[list[str]]]]:
    """(title, header, rows) of the scores and figures of every part, and of the controls."""
    tables = []
    for name, part in measured_parts(report).items():
        title = f"{PART_NAMES.get(name, name)}: {part['num_clips']} clips, {part['num_captions']} captions"
        tables.append(
            (title, ["measure", *SCORE_HEADER], [[row, *score_cells(score)] for row, score in score_rows(part)])
        )
        tables.append(("", ["figure", "value"], [list(row) for row in figure_rows(part)]))
    rows = [
        [f"{control['name']}, {PART_NAMES.get(control['part'], control['part'])}: {control['measure']}"
         + ("" if control["failed"] else " (DID NOT FAIL)"), *score_cells(control["score"])]
        for control in report.get("controls") or []
    ]  # fmt: skip
    return [*tables, ("controls, which must fail", ["control", *SCORE_HEADER], rows)]


@cache
def _template() -> jinja2.Template:
    places, how = jinja2.FileSystemLoader(Path(__file__).parent), {"trim_blocks": True, "lstrip_blocks": True}
    made = jinja2.Environment(loader=places, undefined=jinja2.StrictUndefined, keep_trailing_newline=True, **how)
    return made.get_template("card.md.j2")
