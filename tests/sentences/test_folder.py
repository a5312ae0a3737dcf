"""utils/sentences/folder.py and ``prepare-data --sentences``: clips of signs to clips of sentences, each sign told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from main import main
from tests.conftest import files_below
from tests.reading.films import write_film
from utils.layouts.listing import LayoutError, Row
from utils.layouts.registry import read_listing
from utils.reading.reader import read_frames
from utils.sentences.folder import one_signer

SIGNS = ("Again", "Thank you", "Ask")
BLENDED = 2  # frames of 10 a second


def sign_film(path: Path, level: int) -> None:
    """Ten frames of 32 px: two of rest, six in which a square of ``level`` goes across, two of rest."""
    frames = np.full((10, 32, 32, 3), 40, np.uint8)
    for i in range(2, 8):
        frames[i, 8:24, 2 * i : 2 * i + 14] = level
    write_film(path, frames)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "signs"
    folder.mkdir()
    for sign, level in zip(SIGNS, (120, 180, 240), strict=True):
        sign_film(folder / f"{sign}.mp4", level)
        (folder / f"{sign}.txt").write_text(sign)
    return folder


def prepare(clips: Path, output: Path, sentences: str, *flags: str) -> int:
    size = ("--set", "IMAGE_SIZE=32", "--crop", "centre")
    command = ["prepare-data", "--sentences", sentences, "--clips", str(clips), "--output", str(output)]
    return main([*command, *size, *flags])


def test_a_sentence_shows_its_signs_in_their_spans_and_rest_at_its_ends_alone(clips: Path, tmp_path: Path) -> None:
    listed, output = tmp_path / "sentences.list", tmp_path / "out"
    listed.write_text("ask thank you\nthank you again ask\n")
    assert prepare(clips, output, str(listed)) == 0
    layout, listing = read_listing(output)
    assert (layout, listing.problems) == ("table", [])
    assert [row.text for row in listing.rows] == ["ask thank you", "thank you again ask"]
    assert [[span.sign for span in row.spans] for row in listing.rows][0] == ["ask", "thank you"]
    row = listing.rows[1]
    frames = read_frames(row.path)
    assert len(frames) == 3 + 3 * 6 + 2 * BLENDED  # of rest 0.15 s at each end
    for span, level in zip(row.spans, (180, 120, 240), strict=True):
        own = frames[round(10 * span.start) : round(10 * span.end)]
        assert len(own) == 6 and abs(float(own[:, 12:20, 16].mean()) - level) < 30
        for i, frame in enumerate(own):
            assert abs(float(frame[12:20, 2 * i + 8 : 2 * i + 14].mean()) - level) < 8


def test_the_same_command_keeps_what_is_there_and_gives_the_same(clips: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "out"
    flags = ("--lengths", "2", "--held_out_pairs", "0.4", "--format", "gif")
    assert prepare(clips, output, "random:5", *flags) == 0
    assert "5 sentences of 3 signs (3 clips), 3 for train, 2 for test: 5 written, 0 kept" in capsys.readouterr().out
    before = files_below(output)
    assert prepare(clips, output, "random:5", *flags) == 0
    assert "0 written, 5 kept" in capsys.readouterr().out and files_below(output) == before
    splits = [row.split for row in read_listing(output)[1].rows]
    assert sorted(splits) == ["test"] * 2 + ["train"] * 3


def test_clips_of_several_signers_are_refused_with_their_names() -> None:
    rows = [Row(Path("a.mp4"), "a", "a", signer=signer) for signer in ("Ann", "Ben", "Ann")]
    with pytest.raises(LayoutError, match="2 signers, 'Ann', 'Ben'; wanted clips of one"):
        one_signer(rows)
    assert one_signer(rows[::2]) == rows[::2]


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        (["--sentences", "random:3"], "--sentences takes --clips"),
        (["--sentences", "random:3", "--clips", "x", "--crop", "pose"], "--crop set or centre"),
        (["--sentences", "random:3", "--clips", "nowhere"], "nowhere is no folder"),
        (["--clips", "x"], "--sentences takes --clips"),
    ],
)
def test_what_cannot_be_asked_for_is_a_line(flags: list[str], found: str, capsys) -> None:
    assert main(["prepare-data", *flags]) == 2
    assert found in capsys.readouterr().err
