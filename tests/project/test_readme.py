"""README.md against the code: its commands parse, the defaults that it quotes hold, the files that it names exist."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from config import PRESETS, Config, field_types, make_config, parse_assignments
from main import parse_arguments

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
MADE_BY_RUNNING = ("training_data", "checkpoints", "logs", "generated_samples", "evaluation", "cache", ".venv")
TRACKED_SUFFIXES = (".py", ".md", ".txt", ".sh", ".toml", ".yml", ".json")

needs_readme = pytest.mark.skipif(not README.is_file(), reason="README.md does not exist yet")


def text() -> str:
    return README.read_text(encoding="utf-8") if README.is_file() else ""


def commands(markdown: str) -> list[str]:
    """Every ``python main.py ...`` in a fenced code block, continued lines joined, prompts and comments dropped."""
    found = []
    for block in re.findall(r"^ *```[^\n]*\n(.*?)^ *```", markdown, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            match = re.search(r"(?:^|[\s;&|/])python3? main\.py\b(.*)", line)
            if match:
                found.append(" ".join(match.group(1).split()))
    return found


def settings_rows(markdown: str) -> list[tuple[str, str]]:
    """(setting, quoted default): ``NAME = value`` or ``NAME=value`` in a table of settings, or NAME beside a default.

    A table of settings is one whose header says so ("setting" or "default") and does not speak of presets.
    """
    found: list[tuple[str, str]] = []
    header: list[str] = []
    for line in markdown.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.lstrip().startswith("|") else []
        if not cells or not header:
            header = cells  # the first row of a table, or none
            continue
        title = " ".join(header).lower()
        if "preset" in title or not re.search(r"setting|default", title):
            continue
        found += re.findall(r"`([A-Z][A-Z0-9_]+)\s*=\s*([^`]+)`", line)
        names = re.findall(r"^`([A-Z][A-Z0-9_]+)`$", cells[0])
        column = next((i for i, name in enumerate(header) if "default" in name.lower()), None)
        if names and column is not None and column < len(cells):
            found += [(names[0], quoted) for quoted in re.findall(r"`([^`]+)`", cells[column])[:1]]
    return [(name, value.strip()) for name, value in found]


def named_files(markdown: str) -> set[str]:
    """Paths in backticks or link targets that are part of the repository, not made by running."""
    words = set(re.findall(r"`([\w./{},-]+)`", markdown)) | set(re.findall(r"\]\(([\w./-]+)\)", markdown))
    found = set()
    for word in words:
        plain = word.removeprefix("./").rstrip("/")
        is_file = plain.endswith(TRACKED_SUFFIXES) and not re.search(r"[A-Z]{2,}\.txt|[{},]", plain)
        is_folder = word.endswith("/") and re.fullmatch(r"[\w./-]+", plain)
        if (is_file or is_folder) and plain.split("/")[0] not in MADE_BY_RUNNING:
            found.add(plain)
    return found


def as_value(quoted: str) -> object:
    try:
        return ast.literal_eval(quoted)
    except (ValueError, SyntaxError):
        return quoted


@needs_readme
@pytest.mark.parametrize("command", commands(text()))
def test_a_quoted_command_is_one_that_the_program_knows(command: str) -> None:
    words = shlex.split(command, comments=True)
    try:
        args = parse_arguments(words)
    except SystemExit as ended:
        assert ended.code == 0, f"python main.py {command}"  # --help
        return
    assert args.preset in PRESETS or args.preset.isupper()
    assigned = {key: value for key, value in parse_assignments(args.assignments).items() if key != "KEY"}
    if args.preset in PRESETS and not any(value.isupper() for value in assigned.values()):
        make_config(args.preset, assigned)


@needs_readme
def test_commands_are_quoted_at_all() -> None:
    quoted = {command.split()[0] for command in commands(text()) if command}
    assert {"train", "sample", "evaluate", "prepare-data"} <= quoted


@needs_readme
@pytest.mark.parametrize(("name", "quoted"), settings_rows(text()))
def test_a_quoted_default_is_the_default(name: str, quoted: str) -> None:
    assert name in field_types() or name == "INPUT_SHAPE", f"there is no setting {name}"
    assert as_value(quoted) == getattr(Config(), name)


@needs_readme
@pytest.mark.parametrize("path", sorted(named_files(text())))
def test_a_named_file_exists(path: str) -> None:
    places = [ROOT / path, *(ROOT / folder / path for folder in ("external", "models", "pretrained", "tests"))]
    assert any(place.exists() for place in places), path


EXAMPLE = """
```bash
$ .venv/bin/python main.py train --preset demo \\
    --set SEED=7   # comment
make demo
```
| setting | default | |
|---|---|---|
| `SEED` | `41` | wrong |
| `BATCH_SIZE = 2` | | wrong |

| preset | settings |
|---|---|
| demo | `BATCH_SIZE=4` |

See `config.py`, `models/architectures/`, `NAME.txt`, `training_data/ase/` and [this](pretrained/README.md).
"""


def test_the_reader_finds_commands_defaults_and_files() -> None:
    assert commands(EXAMPLE) == ["train --preset demo --set SEED=7 # comment"]
    assert settings_rows(EXAMPLE) == [("SEED", "41"), ("BATCH_SIZE", "2")]
    assert named_files(EXAMPLE) == {"config.py", "models/architectures", "pretrained/README.md"}
