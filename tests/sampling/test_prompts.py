"""methods/sampling/prompts.py: prompts of the command line and of files, and every way in which they can be wrong."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from config import ConfigError
from methods.sampling.prompts import gather
from utils.lines import MAX_LINE_BYTES


def written(folder: Path, data: bytes) -> str:
    path = folder / "prompts.txt"
    path.write_bytes(data)
    return str(path)


def test_a_file_has_a_prompt_a_line(tmp_path: Path) -> None:
    data = "\ufeffyes\r\n\r\n# a note\n  thank \t you \ngr\u00fc\u00df dich \u624b\u8a71\n   # another\nletter #1"
    found = gather([], written(tmp_path, data.encode()))
    assert found == ["yes", "thank you", "gr\u00fc\u00df dich \u624b\u8a71", "letter #1"]


def test_prompts_of_flags_come_before_those_of_a_file(tmp_path: Path) -> None:
    file = written(tmp_path, b"no\nthank  you\n")
    assert gather(["yes", " please "], file) == ["yes", "please", "no", "thank you"]
    assert gather(["# yes"], None) == ["# yes"]  # no comment where nothing else is meant


def test_the_longest_prompt_fits_and_one_byte_more_is_refused(tmp_path: Path) -> None:
    longest = b"\xef\xbb\xbf" + b"x" * MAX_LINE_BYTES + b"\r\nyes\n"
    assert [len(prompt) for prompt in gather([], written(tmp_path, longest))] == [MAX_LINE_BYTES, 3]
    for more in (b"x", b"x" * 3 * MAX_LINE_BYTES):
        with pytest.raises(ConfigError, match=r"txt, line 2 has more than 10,000 bytes; wanted one prompt a line"):
            gather([], written(tmp_path, b"yes\n" + b"x" * MAX_LINE_BYTES + more + b"\nno\n"))


def test_standard_input_is_a_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"yes\nno\n")))
    assert gather([], "-") == ["yes", "no"]


MISTAKES = {
    "not UTF-8": (b"yes\n# caf\xe9\n", "line 2 is not UTF-8 at byte 6; wanted UTF-8"),
    "half a character": (b"yes\nno\n\xed\xa0\xbd\n", "line 3 is not UTF-8 at byte 1"),
    "UTF-16": ("yes\nno".encode("utf-16-le"), "line 1 holds a zero byte, as UTF-16 does"),
    "UTF-16, marked": ("yes\nno".encode("utf-16"), "line 1 is not UTF-8 at byte 1"),
    "empty": (b"", "holds no prompt; wanted one a line"),
    "blank": (b"\xef\xbb\xbf\n  \r\n", "holds no prompt"),
    "notes only": (b"# yes\n", "holds no prompt"),
    "no end": (b"x" * 10**6, "line 1 has more than 10,000 bytes"),
}


@pytest.mark.parametrize(("data", "found"), MISTAKES.values(), ids=MISTAKES)
def test_a_file_that_holds_no_prompts_is_refused_in_one_line(tmp_path: Path, data: bytes, found: str) -> None:
    with pytest.raises(ConfigError) as caught:
        gather([], written(tmp_path, data))
    assert found in str(caught.value) and str(caught.value).isprintable()


def test_without_any_prompt_and_without_a_file_it_is_said_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no prompt; wanted --text PROMPT, or --prompts_file FILE"):
        gather([], None)
    for place, reason in ((tmp_path / "none.txt", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=rf"--prompts_file {place} cannot be read \({reason}.*one prompt a line"):
            gather(["yes"], str(place))


def test_what_only_one_process_can_read_is_not_shared(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for file in ("-", str(tmp_path / "pipe")):
        with pytest.raises(ConfigError, match="cannot be read by 2 processes; write the prompts into a file"):
            gather([], file, num_processes=2)
