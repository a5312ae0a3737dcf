"""The house's rules, read off the source itself: who may import whom, and how long a file may be."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

RANKS = {
    "presets": -1,
    "config": 0,
    "schedulers": 1,
    "utils": 1,
    "external": 1,
    "models": 2,
    "dataset": 2,
    "diffusion": 3,
    "methods": 4,
    "commands": 5,
    "verify_training_ready": 5,
    "benchmarks": 5,
    "main": 6,
}
"""A package or top-level module imports from lower ranks and from itself, never sideways."""

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
    """(line, dotted name) of every import in ``source``, at any depth."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")


def violations(path: Path, source: str) -> list[str]:
    """What in ``source``, the file at ``path`` below the root, breaks the rules; empty if nothing does."""
    own = path.parts[0].removesuffix(".py")
    if own not in RANKS and own != "tests":
        return [f"{path}: has no rank; give it one in RANKS and in DESIGN.md"]
    found = []
    for line, module in imported_modules(source):
        top = module.partition(".")[0]
        if module.startswith("."):
            found.append(f"{path}:{line}: relative import; write the whole name")
        elif own in ("config", "presets") and top not in {*sys.stdlib_module_names, "presets"}:
            found.append(f"{path}:{line}: imports {module}; {own}.py is standard library only")
        elif top == "tests" and own != "tests":
            found.append(f"{path}:{line}: imports the tests")
        elif top in RANKS and top != own and own != "tests" and RANKS[top] >= RANKS[own]:
            found.append(f"{path}:{line}: {own} (rank {RANKS[own]}) imports {module} (rank {RANKS[top]})")
    return found


def test_the_project_is_found() -> None:
    assert {Path("config.py"), Path("main.py"), Path("utils/video.py"), Path("external/TinyFusion/dit.py")} <= set(
        python_files()
    )


@pytest.mark.parametrize("path", python_files(), ids=str)
def test_a_module_imports_only_from_lower_ranks(path: Path) -> None:
    assert violations(path, (ROOT / path).read_text(encoding="utf-8")) == []


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
        ("utils/video.py", "from models.layers import CrossAttention", "utils (rank 1) imports models.layers (rank 2)"),
        ("utils/video.py", "import schedulers.noise_schedulers", "utils (rank 1) imports schedulers"),
        ("dataset.py", "from models.text_encoder import TextEncoder", "dataset (rank 2) imports models"),
        (
            "models/layers.py",
            "def f():\n    import methods.trainer as t",
            "layers.py:2: models (rank 2) imports methods",
        ),
        ("methods/sampling/generate.py", "from main import main", "methods (rank 4) imports main"),
        ("methods/sampling/generate.py", "from .trainer import Trainer", "relative import"),
        ("methods/sampling/generate.py", "from tests.conftest import encoder", "imports the tests"),
        ("newcomer/thing.py", "import torch", "has no rank"),
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
