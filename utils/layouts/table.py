"""A table of files and texts in the folder, as Hugging Face's VideoFolder has it: ``metadata.csv``, .tsv or .jsonl.

Columns ``file_name`` and ``text`` (or one of their usual other names), and optionally ``start`` and ``end`` in seconds,
``split``, ``signer``, and ``spans``, JSON: ``[["again", 0.0, 1.2], ...]``, each sign with its seconds from the clip's
start. Paths are relative to the table.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from utils.layouts.listing import LayoutError, Listing, Row, Span, files_below, split_of
from utils.layouts.text import read_table, read_text

NAMES = ("metadata.csv", "metadata.tsv", "metadata.jsonl")
PATHS = ("file_name", "video", "video_path", "video_file", "file", "path")
TEXTS = ("text", "caption", "prompt", "sentence", "translation", "gloss")


def recognises(folder: Path) -> bool:
    return any((folder / name).is_file() for name in NAMES)


def read(folder: Path) -> Listing:
    """Every row of the table.

    Raises:
        LayoutError: no table or several, no column of files or of texts, or a table that is broken.
    """
    there = [folder / name for name in NAMES if (folder / name).is_file()]
    if len(there) != 1:
        found = " and ".join(path.name for path in there) or "none"
        raise LayoutError(f"{folder}: {found} found; wanted one of {', '.join(NAMES)}")
    listing, table = Listing(), there[0]
    rows = list(_lines_of_json(table, listing) if table.suffix == ".jsonl" else _lines_of_csv(table, listing))
    path_column, text_column = (_column(table, rows, names) for names in (PATHS, TEXTS))
    taken: set[tuple[Path, float, float | None]] = set()
    for line, values in rows:
        place = f"{table}, line {line}"
        try:
            row = _row(folder, values, path_column, text_column)
        except LayoutError as error:
            listing.refuse(place, str(error), files=[folder / str(values.get(path_column)).strip()])
            continue
        if (row.path, row.start, row.end) in taken:
            listing.refuse(place, f"{row.path.name} has a text already; wanted one for each clip")
            continue
        taken.add((row.path, row.start, row.end))
        listing.add(row, place)
    listing.rows = _named_apart(listing.rows)
    listing.tell_unlisted(files_below(folder))
    return listing


def _lines_of_csv(table: Path, listing: Listing) -> Iterable[tuple[int, dict[str, Any]]]:
    return read_table(table, listing, delimiter="\t" if table.suffix == ".tsv" else ",")


def _lines_of_json(table: Path, listing: Listing) -> Iterable[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(read_text(table, listing.remarks).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise LayoutError(f"{table}, line {number}: no JSON ({error}); wanted an object a line") from error
        if not isinstance(values, dict):
            raise LayoutError(f"{table}, line {number}: {line[:40]!r} is no object; wanted one with file_name and text")
        yield number, values


def _column(table: Path, rows: list[tuple[int, dict[str, Any]]], names: tuple[str, ...]) -> str:
    """The first of ``names`` that is a column."""
    columns = list(rows[0][1]) if rows else []
    known = {column.strip().lower(): column for column in columns}
    for name in names:
        if name in known:
            return known[name]
    found = ", ".join(map(str, columns)) or "none"
    raise LayoutError(f"{table} has the columns {found}; wanted one of {', '.join(names)}")


def _row(folder: Path, values: dict[str, Any], path_column: str, text_column: str) -> Row:
    name, text = values.get(path_column), values.get(text_column)
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise LayoutError(f"{path_column} is {name!r}; wanted the name of a file")
    if not isinstance(text, str):
        raise LayoutError(f"{text_column} is {text!r}; wanted what is signed")
    return Row(
        path=folder / name.strip(),
        text=text,
        name=Path(name.strip()).with_suffix("").as_posix(),
        start=_seconds(values, "start") or 0.0,
        end=_seconds(values, "end"),
        split=split_of(str(values.get("split") or "")),
        signer=str(values.get("signer") or "").strip(),
        spans=_spans(values.get("spans") or []),
    )


def _seconds(values: dict[str, Any], column: str) -> float | None:
    found = values.get(column)
    if found is None or found == "":
        return None
    try:
        seconds = float(found)
    except (TypeError, ValueError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise LayoutError(f"{column} is {found!r}; wanted seconds")
    return seconds


def _spans(found: object) -> tuple[Span, ...]:
    """Of JSON, or of what a line of JSON held."""
    try:
        listed = json.loads(found) if isinstance(found, str) else found
        spans = tuple(Span(str(sign), float(start), float(end)) for sign, start, end in listed)
    except (TypeError, ValueError, RecursionError):
        spans = (Span("", 0.0, 0.0),)
    edges = [edge for span in spans for edge in (span.start, span.end)]
    rising = edges == sorted(edges) and all(span.start < span.end for span in spans)
    if not (rising and all(map(math.isfinite, edges)) and all(span.sign.strip() and span.start >= 0 for span in spans)):
        raise LayoutError(f'spans is {str(found)[:40]!r}; wanted rising seconds such as [["again", 0.0, 1.2]]')
    return spans


def _named_apart(rows: list[Row]) -> list[Row]:
    """Windows of one file get their start into their names."""
    files = Counter(row.name for row in rows)
    return [row._replace(name=f"{row.name}@{row.start:g}") if files[row.name] > 1 else row for row in rows]
