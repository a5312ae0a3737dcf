"""Prompts from the command line and from files, checked before anything is loaded. No torch in here."""

from __future__ import annotations

import os
from pathlib import Path

from config import ConfigError
from utils.lines import STDIN, read_lines, text_of


def gather(texts: list[str], file: str | None, *, num_processes: int = 1) -> list[str]:
    """The prompts of ``--text``, then those of ``--prompts_file``; white space between words counts as one space.

    The file is as ``read_lines`` wants it. Only one process can read standard input, or a pipe.

    Raises:
        ConfigError: no prompt at all, one that is empty, not UTF-8 or too long, or a file that cannot be read.
    """
    prompts = [text_of(os.fsencode(text), "--text", "prompt") for text in texts]
    if "" in prompts:
        raise ConfigError("--text is empty; wanted a prompt, for example --text hello")
    if file is not None:
        name = "standard input" if file == STDIN else f"--prompts_file {file}"
        if num_processes > 1 and (file == STDIN or Path(file).is_fifo()):
            raise ConfigError(f"{name} cannot be read by {num_processes} processes; write the prompts into a file.")
        prompts += [prompt for _, prompt in read_lines(file, name=name, what="prompt", example="hello")]
    if not prompts:
        raise ConfigError("There is no prompt; wanted --text PROMPT, or --prompts_file FILE with one a line.")
    return prompts
