"""Text files as people have them: UTF-8 with or without a mark, UTF-16 with one, else cp1252; tables of several kinds.

Standard library only. The locale's own encoding is never asked: the same file reads the same everywhere.
"""

from __future__ import annotations

import codecs
import csv
import io
import stat
from collections.abc import Sequence
from pathlib import Path

from utils.layouts.listing import LayoutError, Listing

MAX_BYTES = 2**30  # of a list; anything larger is another file by mistake
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path, remarks: list[str], *, max_bytes: int = MAX_BYTES) -> str:
    """The whole file; an encoding that had to be guessed goes to ``remarks``.

    Raises:
        LayoutError: unreadable, no plain file, too large, or no text in any of these encodings.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe or a device may never end
            raise LayoutError(f"{path} is no plain file; wanted a text file")
        if found.st_size > max_bytes:
            raise LayoutError(f"{path} has {found.st_size:,} bytes; wanted at most {max_bytes:,}")
        data = path.read_bytes()
    except OSError as error:
        raise LayoutError(f"{path} cannot be read: {error.strerror or error}; wanted a text file") from error
    try:
        if data.startswith(UTF_16):
            return data.decode("utf-16")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        first = error.start
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError as error:
        raise LayoutError(f"{path}: byte {first} is neither UTF-8 nor cp1252; save the file as UTF-8") from error
    remarks.append(f"{path}: byte {first} is no UTF-8, so it was read as cp1252; save it as UTF-8 if that is wrong")
    return text


def first_line(path: Path) -> str:
    """Of a table that may be any other file; empty where it cannot be read."""
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as lines:
            return lines.readline(2000).strip()
    except OSError:
        return ""


def read_table(
    path: Path, listing: Listing, *, delimiter: str, quoted: bool = True, header: Sequence[str] | None = None,
    columns: Sequence[str] = (),
) -> list[tuple[int, dict[str, str]]]:  # fmt: skip
    """(line number, column -> value) of every row; a row of another length is refused in ``listing``.

    ``header`` where the file has none; ``quoted`` as CSV has it; ``columns`` that it must have.

    Raises:
        LayoutError: unreadable, no header, a column missing, or a quotation mark without its partner, which leaves no
            row certain.
    """
    quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    lines = io.StringIO(read_text(path, listing.remarks), newline="")
    reader = csv.DictReader(lines, header, delimiter=delimiter, quoting=quoting, strict=quoted)
    found = []
    try:
        if not reader.fieldnames:
            raise LayoutError(f"{path} is empty; wanted a header and a row for each clip")
        if missing := [column for column in columns if column not in reader.fieldnames]:
            raise LayoutError(f"{path} has the columns {', '.join(reader.fieldnames)}; wanted {missing[0]} too")
        for row in reader:
            if None in row or None in row.values():
                wanted = f"wanted {len(reader.fieldnames)} values, as in the header: {', '.join(reader.fieldnames)}"
                listing.refuse(f"{path}, line {reader.line_num}", wanted)
            else:
                found.append((reader.line_num, row))
    except csv.Error as error:
        raise LayoutError(f"{path}, line {reader.line_num}: {error}; is a quotation mark unbalanced?") from error
    return found
