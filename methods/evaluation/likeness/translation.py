"""Back translation: a command that the user gives reads clips into text, which is held against what was asked for.

The command gets the paths of clips on its standard input, one a line, and writes a line of text for each. BLEU is
sacrebleu's; what the same command makes of the real clips stands beside it, for most errors are the translator's.
"""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from config import UserError
from methods.sampling.generate import GeneratedClip


class TranslatorError(UserError):
    """The translator fails, or sacrebleu is missing."""


def check_translator(command: str) -> list[str]:
    """Its words.

    Raises:
        TranslatorError: no command, or no sacrebleu to judge what it says.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise TranslatorError(f"--translator {command!r} cannot be read ({error}).") from error
    if not words:
        raise TranslatorError("--translator is empty; wanted a command that turns paths into text, line by line.")
    if importlib.util.find_spec("sacrebleu") is None:
        raise TranslatorError("--translator needs sacrebleu: pip install sacrebleu")
    return words


def translate(words: list[str], clips: Sequence[GeneratedClip]) -> list[str]:
    """A line of text for each clip.

    Raises:
        TranslatorError: the command cannot be run, fails, or writes another number of lines.
    """
    with tempfile.TemporaryDirectory(prefix="text2sign_") as folder:
        paths = [Path(folder) / f"{number:05d}{clip.suffix}" for number, clip in enumerate(clips)]
        for path, clip in zip(paths, clips, strict=True):
            replace(clip, facts=replace(clip.facts, prompt="")).write(path)  # whose comment would tell the answer
        asked = "".join(f"{path}\n" for path in paths)
        try:
            done = subprocess.run(words, input=asked, capture_output=True, encoding="utf-8", check=False)
        except (OSError, UnicodeError) as error:
            raise TranslatorError(f"--translator {words[0]} cannot be run ({error}).") from error
    lines = done.stdout.splitlines()
    if done.returncode or len(lines) != len(clips):
        last = (done.stderr.strip().splitlines() or ["nothing on stderr"])[-1][:150]
        raise TranslatorError(
            f"--translator {words[0]} gave {len(lines)} lines for {len(clips)} clips, exit code {done.returncode} "
            f"({last}); wanted a line for each path."
        )
    return [line.strip() for line in lines]


def bleu(found: Sequence[str], wanted: Sequence[str]) -> float:
    """Corpus BLEU in [0, 100] (Papineni et al. 2002), as sacrebleu reckons it, of lower-cased text."""
    import sacrebleu

    return sacrebleu.corpus_bleu([*found], [[*wanted]], lowercase=True).score


def measure_translation(
    words: list[str], generated: Sequence[GeneratedClip], real: Sequence[np.ndarray], texts: Sequence[str]
) -> dict[str, float | int]:
    """BLEU of what the translator reads in ``generated`` and in ``real`` clips (F, H, W, 3) of ``texts``."""
    as_clips = [replace(generated[0], frames=clip) for clip in real]
    asked = [clip.facts.prompt for clip in generated]
    return {
        "bleu": bleu(translate(words, generated), asked),
        "num_generated": len(generated),
        "bleu_real": bleu(translate(words, as_clips), texts),
        "num_real": len(real),
    }
