"""Rewriting literals in ``config.py``: only the values of the named settings change, comments and layout survive."""

from __future__ import annotations

import ast
import difflib
import shutil
import time
from pathlib import Path
from typing import Any

from config import Config, ConfigError, from_dict
from utils.files import write_file


def read_source(path: Path) -> str:
    """The text of a config file.

    Raises:
        ConfigError: missing, or no Python in UTF-8.
    """
    try:
        source = path.read_text(encoding="utf-8")
        ast.parse(source)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); wanted a config.py: --file PATH") from error
    except (SyntaxError, ValueError) as error:
        line = f" line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ConfigError(f"{path}{line} is no valid Python; mend it, or name another: --file PATH") from error
    return source


def fit(source: str, stored: Config, keys: tuple[str, ...]) -> str:
    """``source`` with the defaults of ``keys`` as in ``stored``, and INFERENCE_TIMESTEPS where it would be too many.

    Raises:
        ConfigError: as ``rewrite_defaults``, or the defaults would not be a valid config together.
    """
    values = {key: getattr(stored, key) for key in keys}
    if "TIMESTEPS" in keys and read_defaults(source).get("INFERENCE_TIMESTEPS", 0) > stored.TIMESTEPS:
        values["INFERENCE_TIMESTEPS"] = stored.INFERENCE_TIMESTEPS
    fitted = rewrite_defaults(source, values)
    try:
        from_dict(read_defaults(fitted))
    except ConfigError as error:
        raise ConfigError(
            f"With the checkpoint's model, config.py would not be valid: {error} Nothing was changed."
        ) from error
    return fitted


def rewrite_defaults(source: str, values: dict[str, Any]) -> str:
    """``source`` of config.py with the default of every setting in ``values`` replaced by its literal.

    Raises:
        ConfigError: a setting that the class ``Config`` does not declare with a literal default.
    """
    literals = _default_literals(source)
    unknown = sorted(set(values) - set(literals))
    if unknown:
        raise ConfigError(f"config.py declares no literal default for {', '.join(unknown)}; nothing was changed.")
    lines = source.splitlines(keepends=True)
    for name, node in literals.items():
        if name in values and ast.literal_eval(node) != values[name]:
            line = lines[node.lineno - 1].encode()  # ast counts columns in bytes
            replaced = line[: node.col_offset] + _literal(values[name]).encode() + line[node.end_col_offset :]
            lines[node.lineno - 1] = replaced.decode()
    return "".join(lines)


def unified_diff(old: str, new: str, name: str) -> str:
    """What changes, as ``diff -u`` shows it; empty if nothing does."""
    return "".join(difflib.unified_diff(old.splitlines(True), new.splitlines(True), name, f"{name} (fixed)"))


def replace_file(path: Path, text: str) -> Path:
    """Write ``text`` to ``path`` in one step, after a copy of what stood there; returns the copy's path."""
    stem = f"{path.name}.bak-{time.strftime('%Y%m%d-%H%M%S')}"
    names = (stem, *(f"{stem}-{number}" for number in range(2, 1000)))  # a second run within the second
    backup = next(candidate for candidate in map(path.with_name, names) if not candidate.exists())
    shutil.copy2(path, backup)
    write_file(path, text.encode())
    return backup


def read_defaults(source: str) -> dict[str, Any]:
    return {name: ast.literal_eval(node) for name, node in _default_literals(source).items()}


def _default_literals(source: str) -> dict[str, ast.expr]:
    """Name -> node of the value, for one-line literal defaults of the class ``Config``."""
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == "Config"]
    found = {}
    for node in classes[0].body if classes else []:
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Constant):
            found[ast.unparse(node.target)] = node.value
    return found


def _literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) and '"' not in value and "\\" not in value else repr(value)
