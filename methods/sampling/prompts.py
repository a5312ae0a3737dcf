"""Prompts from the command line and from files, checked before anything is loaded. No torch in here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from config import ConfigError
from utils.lines import MAX_LINE_BYTES, STDIN, read_lines


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
    prompt = " ".join(text.split())
    if not prompt:
        raise ConfigError("--text is empty; wanted a prompt, for example --text hello")
    try:
        num_bytes = len(prompt.encode())
    except UnicodeEncodeError as error:  # bytes of the command line that are no UTF-8 arrive as halves of characters
        raise ConfigError(f"--text {ascii(error.object)[:60]} is not UTF-8; wanted readable text.") from error
    if num_bytes > MAX_LINE_BYTES:
        raise ConfigError(f"--text has {num_bytes:,} bytes; wanted a prompt of at most {MAX_LINE_BYTES:,}.")
    return prompt


def read_prompts(file: str, *, num_processes: int = 1) -> list[tuple[int, str]]:
    """(line number, prompt) of a UTF-8 file with one a line; blank lines and those that begin with # are left out.

    ``-`` is standard input. Only one process can read that, or a pipe.

    Raises:
        ConfigError: unreadable, without any prompt, or a line that is not UTF-8 or too long, by its number.
    """
    name = "standard input" if file == STDIN else f"--prompts_file {file}"
    if num_processes > 1 and (file == STDIN or Path(file).is_fifo()):
        raise ConfigError(f"{name} cannot be read by {num_processes} processes; write the prompts into a file.")
    return read_lines(file, name=name, what="prompt", example="hello")
