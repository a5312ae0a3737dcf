"""The house's rules, read off the source itself: who may import whom, and how long a file may be."""

from __future__ import annotations

import ast
import graphlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

RANKS = {  # lowest first
    "limits": 0,
    "presets": 0,
    "config": 1,
    "schedulers": 2,
    "utils": 2,
    "utils.checkpoints": 3,
    "utils.fingerspelling": 3,
    "utils.fingerspelling.drawing": 2,  # draws the signers of videos too
    "utils.layouts": 2,
    "utils.reading": 3,
    "utils.sentences": 4,
    "utils.split": 3,
    "models.text_features": 3,
    "models.architecture": 3,
    "dataset": 4,
    "models": 4,  # the text encoder
    "models.layers": 4,
    "models.autoencoders": 5,
    "external": 5,
    "models.architectures": 6,
    "diffusion": 7,
    "methods.cost": 8,
    "methods.ledger": 8,
    "methods.sampling": 8,
    "methods.serving": 9,
    "methods.evaluation": 9,
    "methods.training": 10,
    "methods.trainer": 11,
    "methods.planning": 12,
    "methods.fix_config": 12,
    "methods.sharing": 12,
    "commands": 13,
    "text2sign": 13,
    "verify_training_ready": 13,
    "benchmarks": 13,
    "main": 14,
}
"""A unit (the longest of these names that begins a module's) imports from lower ranks and from itself, never sideways.

``external`` stands above ``models.layers``: the published model consists of the general layers, and not they of it.
"""

MAX_FILES = 15  # of a package, __init__ apart; tests and benchmarks are lists of scripts
MAX_LINES = 350
LONGER: dict[str, str] = {}  # path -> the reason


def python_files() -> list[Path]:
    """Every .py file of the project, relative to its root; environments and hidden folders are none of it."""
    found = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        if "pyvenv.cfg" in files:
            folders.clear()
            continue
        found += [(Path(folder) / name).relative_to(ROOT) for name in files if name.endswith(".py")]
    return sorted(found)


def imported_modules(source: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import in ``source``, at any depth, those for types alone included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def module_of(path: Path) -> str:
    """``methods/trainer.py`` -> ``methods.trainer``; a package's ``__init__`` is the package."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def unit_of(module: str) -> str | None:
    """The longest ranked name that ``module`` is or lies in; None where there is none."""
    parts = module.split(".")
    return next((name for n in range(len(parts), 0, -1) if (name := ".".join(parts[:n])) in RANKS), None)


def violations(path: Path, source: str) -> list[str]:
    """What in ``source``, the file at ``path`` below the root, breaks the rules; empty if nothing does."""
    module = module_of(path)
    own = "tests" if module.partition(".")[0] == "tests" else unit_of(module)
    if own is None and module not in {name.partition(".")[0] for name in RANKS}:
        return [f"{path}: has no rank; give it one in RANKS and in DESIGN.md"]
    found = []
    for line, imported in imported_modules(source):
        top, unit = imported.partition(".")[0], unit_of(imported)
        if imported.startswith("."):
            found.append(f"{path}:{line}: relative import; write the whole name")
        elif own in ("config", "limits", "presets") and top not in {*sys.stdlib_module_names, "limits", "presets"}:
            found.append(f"{path}:{line}: imports {imported}; {own}.py is standard library only")
        elif top == "tests" and own != "tests":
            found.append(f"{path}:{line}: imports the tests")
        elif unit is not None and own != "tests" and unit != own and RANKS[unit] >= RANKS.get(own, -1):
            found.append(f"{path}:{line}: {own} (rank {RANKS.get(own)}) imports {imported} (rank {RANKS[unit]})")
    return found


def import_graph(sources: dict[str, str]) -> dict[str, set[str]]:
    """Module -> the modules among ``sources`` that it imports, wherever in its file."""
    return {
        module: {
            name
            for _, imported in imported_modules(source)
            if (name := imported if imported in sources else imported.rpartition(".")[0]) in sources and name != module
        }
        for module, source in sources.items()
    }


def first_circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of a circle of imports; empty if there is none."""
    sorter = graphlib.TopologicalSorter(graph)
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_the_project_is_found() -> None:
    assert {Path("config.py"), Path("main.py"), Path("utils/video.py"), Path("external/TinyFusion/dit.py")} <= set(
        python_files()
    )


@pytest.mark.parametrize("path", python_files(), ids=str)
def test_a_module_imports_only_from_lower_ranks(path: Path) -> None:
    assert violations(path, (ROOT / path).read_text(encoding="utf-8")) == []


def test_no_circle_of_imports() -> None:
    sources = {module_of(path): (ROOT / path).read_text(encoding="utf-8") for path in python_files()}
    assert first_circle(import_graph(sources)) == []


def test_the_checker_sees_a_circle_of_types() -> None:
    types = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from a.one import One"
    assert set(first_circle(import_graph({"a.one": "from a import two", "a.two": types}))) == {"a.one", "a.two"}


def test_no_package_has_more_files_than_one_sees_at_a_glance() -> None:
    packages = Counter(path.parent for path in python_files() if path.name != "__init__.py" and len(path.parts) > 1)
    of_product = {package: n for package, n in packages.items() if package.parts[0] not in ("tests", "benchmarks")}
    assert {str(package): n for package, n in of_product.items() if n > MAX_FILES} == {}


@pytest.mark.parametrize("path", python_files(), ids=str)
def test_no_file_is_longer_than_350_lines_without_a_reason(path: Path) -> None:
    num_lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    assert num_lines <= MAX_LINES or path.as_posix() in LONGER, f"{path} has {num_lines} lines"


def test_every_exception_from_the_length_is_still_needed() -> None:
    for name in LONGER:
        assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) > MAX_LINES, name


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("config.py", "import torch", "standard library only"),
        ("config.py", "def f():\n    from utils import video", "standard library only"),
        (
            "utils/video.py",
            "from models.layers.vit import Block",
            "utils (rank 2) imports models.layers.vit.Block (rank 4)",
        ),
        ("utils/video.py", "import schedulers.noise_schedulers", "utils (rank 2) imports schedulers"),
        (
            "utils/video.py",
            "from utils.checkpoints import file",
            "utils (rank 2) imports utils.checkpoints.file (rank 3)",
        ),
        ("dataset.py", "from models.text_encoder import TextEncoder", "dataset (rank 4) imports models"),
        (
            "models/layers/adapters.py",
            "def f():\n    import methods.trainer as t",
            "adapters.py:2: models.layers (rank 4) imports methods.trainer (rank 11)",
        ),
        ("methods/training/report.py", "from methods.trainer import Trainer", "(rank 10) imports methods.trainer"),
        ("methods/sampling/generate.py", "from methods.evaluation.page import page", "imports methods.evaluation"),
        ("methods/sampling/generate.py", "from .trainer import Trainer", "relative import"),
        ("methods/sampling/generate.py", "from tests.conftest import encoder", "imports the tests"),
        ("newcomer/thing.py", "import torch", "has no rank"),
        ("methods/newcomer.py", "import torch", "has no rank"),
    ],
)
def test_the_checker_sees_a_violation(path: str, source: str, complaint: str) -> None:
    assert complaint in " ".join(violations(Path(path), source))


def test_the_checker_allows_lower_ranks_the_own_package_and_third_parties() -> None:
    source = (
        "import torch\nfrom config import Config\nfrom methods.training.optimisation import Ema\nimport utils.video"
    )
    assert violations(Path("methods/trainer.py"), source) == []


def test_config_needs_no_third_party_package() -> None:
    """In a Python that sees the standard library alone (-S hides site-packages, -I the rest)."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import config; print(config.Config().SEED)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("42", "")


def test_a_start_does_not_import_what_only_later_parts_need() -> None:
    """Each of these takes a good part of a second or more (``benchmarks/startup.py``)."""
    slow = {"timm", "torchvision", "transformers", "tensorboard", "torch._dynamo", "torch._inductor", "sympy", "triton"}
    code = "import sys, methods.trainer; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert slow & set(done.stdout.split()) == set()
