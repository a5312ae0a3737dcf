"""methods/evaluation/likeness/translation.py: a command reads clips, and is held against what was asked for."""

from __future__ import annotations

import shlex
import sys

import numpy as np
import pytest

from methods.evaluation.likeness.translation import (
    TranslatorError,
    bleu,
    check_translator,
    measure_translation,
    translate,
)
from tests.evaluation.reports import generated

READER = """
import sys
from PIL import Image
for line in sys.stdin:
    with Image.open(line.strip()) as clip:
        clip.load()
        assert b"where is" not in clip.info.get("comment", b""), "the answer"
        is_white = clip.convert("RGB").getpixel((0, 0))[0] > 128
        print("where is the station please" if is_white else "I do not know at all")
"""


def command(code: str) -> list[str]:
    return shlex.split(f"{sys.executable} -c {shlex.quote(code)}")


def test_what_the_command_reads_is_held_against_what_was_asked_for() -> None:
    pytest.importorskip("sacrebleu")
    asked = "Where is the station please"
    clips = [generated(asked, index) for index in range(2)]
    white, black = (np.full_like(clips[0].frames, level) for level in (255, 0))
    clips[0].frames[:], clips[1].frames[:] = white, black
    found = measure_translation(command(READER), clips, [white, white, white], [asked] * 3)
    assert found["bleu_real"] == pytest.approx(100.0) and 0 < found["bleu"] < 60
    assert (found["num_generated"], found["num_real"]) == (2, 3)
    assert bleu([asked], ["something else entirely different"]) < 10


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (command("print('one')"), "gave 1 lines for 2 clips, exit code 0"),
        (command("raise SystemExit('no model')"), "gave 0 lines for 2 clips, exit code 1 .no model."),
        (["no-such-program"], "cannot be run"),
    ],
)
def test_a_command_that_fails_is_one_clear_line(words: list[str], complaint: str) -> None:
    with pytest.raises(TranslatorError, match=complaint) as caught:
        translate(words, [generated("hello", index) for index in range(2)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "complaint"), [(" ", "is empty"), ("'open", "cannot be read")])
def test_what_is_no_command_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(TranslatorError, match=complaint):
        check_translator(text)


def test_a_missing_sacrebleu_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TranslatorError, match="pip install sacrebleu"):
        check_translator("translate")
