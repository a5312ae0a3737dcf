"""Text files with one thing a line: prompts to sample, words to spell."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import BinaryIO

from config import ConfigError

MAX_LINE_BYTES = 10_000  # as for captions
STDIN = "-"
_BOM = b"\xef\xbb\xbf"


def read_lines(file: str, *, name: str, what: str, example: str) -> list[tuple[int, str]]:
    """(line number, text) of a UTF-8 file; blank lines and those that begin with # are left out.

    White space between words counts as one space. ``-`` is standard input. ``name``, ``what`` and ``example`` are for
    the errors: of the file, of what a line holds, and a line.

    Raises:
        ConfigError: unreadable, without any such line, or a line that is not UTF-8 or too long, by its number.
    """
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if file == STDIN else open(file, "rb") as lines:
            found = [(number, text_of(line, f"{name}, line {number}", what)) for number, line in _numbered(lines)]
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"{name} cannot be read ({reason}); wanted a text file, one {what} a line.") from error
    kept = [(number, text) for number, text in found if text and not text.startswith("#")]
    if not kept:
        raise ConfigError(f"{name} holds no {what}; wanted one a line, for example: {example}")
    return kept


def _numbered(lines: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line without its end); of a line that is too long, so much that it shows."""
    number = 0
    while line := lines.readline(len(_BOM) + MAX_LINE_BYTES + 2):  # \r\n
        number += 1
        yield number, (line.removeprefix(_BOM) if number == 1 else line).rstrip(b"\r\n")


def text_of(line: bytes, place: str, what: str) -> str:
    """One line, without its end, with one space between words.

    Raises:
        ConfigError: not UTF-8, or too long; begins with ``place``.
    """
    if len(line) > MAX_LINE_BYTES:
        raise ConfigError(f"{place} has more than {MAX_LINE_BYTES:,} bytes; wanted one {what} a line.")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{place} is not UTF-8 at byte {error.start + 1}; wanted UTF-8.") from error
    if "\0" in text:
        raise ConfigError(f"{place} holds a zero byte, as UTF-16 does; wanted UTF-8.")
    return " ".join(text.split())
