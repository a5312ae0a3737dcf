"""Prompts from the command line and from files, checked before anything is loaded. No torch in here."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from config import ConfigError

MAX_PROMPT_BYTES = 10_000  # as for captions
STDIN = "-"
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class PromptList:
    """Each prompt once, in the order given; ``repeats``: ``line 7 as line 2`` for each one that was given before."""

    prompts: tuple[str, ...]
    repeats: tuple[str, ...] = ()


def gather(texts: list[str], file: str | None, *, num_processes: int = 1) -> PromptList:
    """The prompts of ``--text``, then those of ``--prompts_file``; white space between words counts as one space.

    Raises:
        ConfigError: no prompt at all, one that is empty, not UTF-8 or too long, or a file that cannot be read.
    """
    if not texts and file is None:
        raise ConfigError("There is no prompt; wanted --text PROMPT, or --prompts_file FILE with one a line.")
    given = [("--text", _of_flag(text)) for text in texts]
    if file is not None:
        given += [(f"line {n}", prompt) for n, prompt in read_prompts(file, num_processes=num_processes)]
    first: dict[str, str] = {}
    repeats = []
    for place, prompt in given:
        if prompt in first:
            repeats.append(f"{place} as {first[prompt]}")
        first.setdefault(prompt, place)
    return PromptList(tuple(first), tuple(repeats))


def _of_flag(text: str) -> str:
    prompt = _normalise(text)
    if not prompt:
        raise ConfigError("--text is empty; wanted a prompt, for example --text hello")
    try:
        num_bytes = len(prompt.encode())
    except UnicodeEncodeError as error:  # bytes of the command line that are no UTF-8 arrive as halves of characters
        raise ConfigError(f"--text {ascii(error.object)[:60]} is not UTF-8; wanted readable text.") from error
    if num_bytes > MAX_PROMPT_BYTES:
        raise ConfigError(f"--text has {num_bytes:,} bytes; wanted a prompt of at most {MAX_PROMPT_BYTES:,}.")
    return prompt


def read_prompts(file: str, *, num_processes: int = 1) -> list[tuple[int, str]]:
    """(line number, prompt) of a UTF-8 file with one a line; blank lines and those that begin with # are left out.

    ``-`` is standard input. Only one process can read that, or a pipe.

    Raises:
        ConfigError: unreadable, without any prompt, or a line that is not UTF-8 or too long, by its number.
    """
    name = _name(file)
    if num_processes > 1 and (file == STDIN or Path(file).is_fifo()):
        raise ConfigError(f"{name} cannot be read by {num_processes} processes; write the prompts into a file.")
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if file == STDIN else open(file, "rb") as lines:
            found = [(number, _of_line(line, f"{name}, line {number}")) for number, line in _numbered(lines)]
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"{name} cannot be read ({reason}); wanted a text file, one prompt a line.") from error
    prompts = [(number, prompt) for number, prompt in found if prompt and not prompt.startswith("#")]
    if not prompts:
        raise ConfigError(f"{name} holds no prompt; wanted one a line, for example: hello")
    return prompts


def _numbered(lines: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line without its end); of a line that is too long, so much that it shows."""
    number = 0
    while line := lines.readline(len(_BOM) + MAX_PROMPT_BYTES + 2):  # \r\n
        number += 1
        yield number, (line.removeprefix(_BOM) if number == 1 else line).rstrip(b"\r\n")


def _of_line(line: bytes, place: str) -> str:
    if len(line) > MAX_PROMPT_BYTES:
        raise ConfigError(f"{place} has more than {MAX_PROMPT_BYTES:,} bytes; wanted one prompt a line.")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{place} is not UTF-8 at byte {error.start + 1}; save the file as UTF-8.") from error
    if "\0" in text:
        raise ConfigError(f"{place} holds a zero byte, as UTF-16 does; save the file as UTF-8.")
    return _normalise(text)


def _normalise(text: str) -> str:
    return " ".join(text.split())


def _name(file: str) -> str:
    return "standard input" if file == STDIN else f"--prompts_file {file}"
