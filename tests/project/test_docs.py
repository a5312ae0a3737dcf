"""README.md and docs/ against the code: commands parse, quoted defaults hold, named files exist, links lead on."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from config import PRESETS, Config, field_types, make_config, parse_assignments
from main import parse_arguments

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
MAX_README_LINES = 200
MADE_BY_RUNNING = (
    "training_data", "checkpoints", "logs", "generated_samples", "evaluation", "cache", ".venv",
    "evaluation.json", "written_files.txt", "fingerspelling.json", "held_out.json", "WLASL_v0.3.json",
)  # fmt: skip
TRACKED_SUFFIXES = (".py", ".md", ".txt", ".sh", ".toml", ".yml", ".json")


def over_pages(read: Callable[[str], Iterable[object]]) -> list[pytest.ParameterSet]:
    """What ``read`` finds in each page, with the page's name before it."""
    found = [(page.name, item) for page in PAGES for item in read(page.read_text(encoding="utf-8"))]
    return [pytest.param(page, item, id=f"{page}-{item}"[:80]) for page, item in found]


def commands(markdown: str) -> list[str]:
    """Every ``python main.py COMMAND ...`` in code, continued lines joined, prompts and comments dropped."""
    found = [" ".join(rest.split()) for rest in re.findall(r"`python main\.py ([a-z][^`]*)`", markdown)]
    for block in re.findall(r"^ *```[^\n]*\n(.*?)^ *```", markdown, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            match = re.search(r"(?:^|[\s;&|/])python3? main\.py\b(.*)", line)
            if match:
                found.append(" ".join(match.group(1).split()))
    return found


def benchmarks(markdown: str) -> set[str]:
    """Every ``python -m benchmarks.NAME ...``, comments dropped."""
    return {" ".join(found.split("#")[0].split()) for found in re.findall(r"python -m (benchmarks\.[^`\n]*)", markdown)}


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
    words = set(re.findall(r"`([\w./{},-]+)`", markdown))
    found = set()
    for word in words:
        plain = word.removeprefix("./").rstrip("/")
        is_file = plain.endswith(TRACKED_SUFFIXES) and not re.search(r"[A-Z]{2,}\.txt|[{},]", plain)
        is_folder = word.endswith("/") and re.fullmatch(r"[\w./-]+", plain)
        if (is_file or is_folder) and plain.split("/")[0] not in MADE_BY_RUNNING:
            found.add(plain)
    return found


def links(markdown: str) -> set[str]:
    """Targets of links and pictures that are no address."""
    return set(re.findall(r"\]\(([\w./-]+)\)", markdown))


def as_value(quoted: str) -> object:
    try:
        return ast.literal_eval(quoted)
    except (ValueError, SyntaxError):
        return quoted


@pytest.mark.parametrize(("page", "command"), over_pages(commands))
def test_a_quoted_command_is_one_that_the_program_knows(page: str, command: str) -> None:
    words = shlex.split(command, comments=True)
    try:
        args = parse_arguments(words)
    except SystemExit as ended:
        assert ended.code == 0, f"{page}: python main.py {command}"  # --help
        return
    if "preset" not in args:  # a command that takes no settings
        return
    assert args.preset in PRESETS or args.preset.isupper()
    assigned = {key: value for key, value in parse_assignments(args.assignments).items() if key != "KEY"}
    if args.preset in PRESETS and not any(value.isupper() for value in assigned.values()):
        make_config(args.preset, assigned)


@pytest.mark.parametrize(("page", "command"), over_pages(lambda markdown: sorted(benchmarks(markdown))))
def test_a_quoted_benchmark_is_there_and_has_the_flags(page: str, command: str) -> None:
    module, *words = command.split()
    source = (ROOT / module.replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8")
    assert [word for word in words if word.startswith("--") and f'"{word}"' not in source] == [], f"{page}: {command}"


def test_every_command_is_quoted_somewhere() -> None:
    quoted = {command.split()[0] for page in PAGES for command in commands(page.read_text(encoding="utf-8")) if command}
    assert {"train", "sample", "evaluate", "inspect-data", "prepare-data", "plan", "reproduce"} <= quoted


@pytest.mark.parametrize(("page", "setting"), over_pages(settings_rows))
def test_a_quoted_default_is_the_default(page: str, setting: tuple[str, str]) -> None:
    name, quoted = setting
    assert name in field_types() or name == "INPUT_SHAPE", f"{page}: there is no setting {name}"
    assert as_value(quoted) == getattr(Config(), name)


@pytest.mark.parametrize(("page", "path"), over_pages(lambda markdown: sorted(named_files(markdown))))
def test_a_named_file_exists(page: str, path: str) -> None:
    places = [ROOT / path, *(ROOT / folder / path for folder in ("external", "models", "pretrained", "tests"))]
    assert any(place.exists() for place in places), f"{page}: {path}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_leads_somewhere_as_seen_from_its_page(page: Path) -> None:
    assert [link for link in links(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()] == []


def test_the_readme_leads_to_every_page_and_is_short() -> None:
    markdown = README.read_text(encoding="utf-8")
    assert {f"docs/{page.name}" for page in PAGES[1:]} <= links(markdown)
    assert len(markdown.splitlines()) <= MAX_README_LINES


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

Run `python main.py plan --memory 8`, `python -m benchmarks.demo --quick`.

See `config.py`, `models/architectures/`, `NAME.txt`, `training_data/ase/` and [this](pretrained/README.md).
"""


def test_the_reader_finds_commands_defaults_and_files() -> None:
    assert commands(EXAMPLE) == ["plan --memory 8", "train --preset demo --set SEED=7 # comment"]
    assert benchmarks(EXAMPLE) == {"benchmarks.demo --quick"}
    assert settings_rows(EXAMPLE) == [("SEED", "41"), ("BATCH_SIZE", "2")]
    assert named_files(EXAMPLE) == {"config.py", "models/architectures"}
    assert links(EXAMPLE) == {"pretrained/README.md"}
