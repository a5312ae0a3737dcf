"""A folder of clips of single signs -> one of clips of sentences, with a ``metadata.csv`` that has each sign's span.

The folder is read as ``prepare-data --videos`` reads it, every clip by one square and at one rate, so that they join. A
sentence whose comment says the same signs and settings is kept, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from utils.files import write_file
from utils.gif import MAX_FPS
from utils.layouts.listing import LayoutError, Row, Span
from utils.layouts.registry import read_listing
from utils.reading.prepare import MAX_SECONDS, TABLE, cut, is_there, look, names_of, on_all_cores, table
from utils.reading.reader import open_source, window_of
from utils.reading.signer import KEPT, Square, around, away_from_rest, middle_square, signing_square
from utils.reading.timeline import even_moments
from utils.sentences.compose import Sign, compose
from utils.sentences.draw import Sentence
from utils.video import VideoError
from utils.writing import FORMS, MAX_MP4_FPS, write_clip

FORMAT = 1
BLEND = 0.2  # seconds between two signs
STEM = 60  # characters of a file's name


class Joining(NamedTuple):
    """Of a run: ``size`` px; ``form`` mp4 or gif; ``crop`` to one square around all that moves, or the centre (set,
    centre)."""

    size: int
    form: str = "mp4"
    crop: str = "set"


class Found(NamedTuple):
    """Where a clip signs, and how fast it was recorded."""

    square: Square
    frames_per_second: float


class Recording(NamedTuple):
    """A clip of a sign as it is joined, and what its pixels are told apart by."""

    sign: Sign
    digest: str


@dataclass
class SentencesReport:
    """What became of the clips of signs, and of the sentences; the numbers add up."""

    num_signs: int
    splits: Counter[str]
    num_used: int = 0  # clips of signs
    num_written: int = 0
    num_kept: int = 0
    left_out: list[str] = field(default_factory=list)  # clips of signs, with the reason

    def __str__(self) -> str:
        """Counts, then a line for every clip of a sign that is not used."""
        of = "".join(f", {number} for {split}" for split, number in self.splits.items() if split)
        total, done = self.splits.total(), f"{self.num_written} written, {self.num_kept} kept"
        head = f"{total} sentences of {self.num_signs} signs ({self.num_used} clips){of}: {done}"
        return "\n".join([head, *(f"left out: {line}" for line in self.left_out)])


def prepare_sentences(
    folder: Path,
    output: Path,
    choose: Callable[[Collection[str]], list[Sentence]],
    settings: Joining,
    *,
    layout: str = "auto",
) -> SentencesReport:
    """Join the clips in ``folder`` into the sentences that ``choose`` gives for the signs that were found there.

    A sign that has several clips takes them in turn. OUTPUT/metadata.csv lists all, with each sign's span.

    Raises:
        LayoutError: no folder, its list cannot be read, several signers, or no clip that can be used.
        ConfigError: as ``choose``.
        FileError: the disk refuses.
    """
    listing = read_listing(folder, layout)[1]
    left_out = [problem.text for problem in listing.problems]
    rows = one_signer(listing.rows)
    recordings, fps = _recordings(rows, settings, left_out)
    by_sign: dict[str, list[Recording]] = {}
    for row, recording in recordings:
        by_sign.setdefault(row.text.lower(), []).append(recording)
    if len(by_sign) < 2:
        raise LayoutError(f"{folder} holds clips of {len(by_sign)} signs that can be used; wanted 2 or more.")
    sentences = choose(by_sign)
    report = SentencesReport(len(by_sign), Counter(one.split for one in sentences), len(recordings), left_out=left_out)
    suffix, uses = FORMS[settings.form].suffix, Counter[str]()
    named = [Row(output, " ".join(one.signs), _stem(one), split=one.split, signer=rows[0].signer) for one in sentences]
    jobs = []
    for sentence, row, name in zip(sentences, named, names_of(named, suffix), strict=True):
        chosen = [by_sign[sign][uses[sign] % len(by_sign[sign])] for sign in sentence.signs]
        uses.update(sentence.signs)
        jobs.append((row, name, sentence.signs, chosen))
    write = partial(_write, output=output, fps=fps)
    pairs = []
    for row, name, is_new in on_all_cores(write, jobs, "joining signs"):
        pairs.append((row, name))
        report.num_written += is_new
        report.num_kept += not is_new
    write_file(output / TABLE, table(pairs))
    return report


def one_signer(rows: Sequence[Row]) -> Sequence[Row]:
    """``rows``, all of one signer as far as they say.

    Raises:
        LayoutError: of several.
    """
    signers = sorted({row.signer for row in rows})
    if len(signers) > 1:
        found = ", ".join(repr(signer) for signer in signers[:5])
        raise LayoutError(f"{len(signers)} signers, {found}; wanted clips of one. Put each one's into its own folder.")
    return rows


def _recordings(
    rows: Sequence[Row], settings: Joining, left_out: list[str]
) -> tuple[list[tuple[Row, Recording]], float]:
    """Each row that can be read, by one square at one rate, and this; of others the reason goes into ``left_out``."""
    look_at = partial(_find, signing=settings.crop == "set")
    seen = list(zip(rows, on_all_cores(look_at, rows, "looking"), strict=True))
    left_out += [found for _, found in seen if isinstance(found, str)]
    found = [(row, one) for row, one in seen if isinstance(one, Found)]
    if not found:
        return [], 1.0
    most = MAX_FPS if settings.form == "gif" else MAX_MP4_FPS
    fps = max(1.0, min(most, median(one.frames_per_second for _, one in found)))
    read = partial(_read, square=around([one.square for _, one in found]), size=settings.size, fps=fps)
    done = list(zip([row for row, _ in found], on_all_cores(read, [row for row, _ in found], "reading"), strict=True))
    left_out += [one for _, one in done if isinstance(one, str)]
    return [(row, one) for row, one in done if isinstance(one, Recording)], fps


def _find(row: Row, *, signing: bool) -> Found | str:
    """Or why the clip cannot be read."""
    try:
        with open_source(row) as source:
            left, right = window_of(row, source.timeline)
            if right - left > MAX_SECONDS:
                return f"{row.path}: {right - left:.0f} s; wanted a sign of at most {MAX_SECONDS:g}"
            square = (signing_square if signing else middle_square)(look(source, left, right)[0])
            return Found(square, source.timeline.frames_per_second)
    except (VideoError, OSError) as error:
        return str(error)


def _read(row: Row, *, square: Square, size: int, fps: float) -> Recording | str:
    """Or why the clip cannot be read. Rest at both ends is KEPT seconds long, or as long as there is."""
    try:
        with open_source(row) as source:
            left, right = window_of(row, source.timeline)
            small, starts = look(source, left, right)
            begins, ends = away_from_rest(small, np.maximum(starts, left), right)
            left, right = max(left, begins - KEPT), min(right, ends + KEPT)
            moments = even_moments(left, right, max(2, round((right - left) * fps)))
            indices = source.timeline.shown_at(moments).tolist()
            pictures = source.pictures(indices, side=round(size / square.side))
            frames = np.stack([cut(picture.pixels, square, size) for picture in pictures])
    except (VideoError, OSError) as error:
        return str(error)
    moving = np.flatnonzero((moments >= begins) & (moments < ends))
    start, end = (int(moving[0]), int(moving[-1]) + 1) if len(moving) else (0, len(frames))
    return Recording(Sign(frames, start, end), hashlib.sha256(frames.tobytes()).hexdigest()[:16])


def _write(
    job: tuple[Row, str, tuple[str, ...], list[Recording]], *, output: Path, fps: float
) -> tuple[Row, str, bool]:
    """The row with its spans, its file's name, and whether it was written anew."""
    row, name, signs, recordings = job
    num_blended = max(1, round(BLEND * fps))
    frames, places = compose([recording.sign for recording in recordings], num_blended=num_blended)
    facts = [[one.digest, one.sign.start, one.sign.end] for one in recordings]
    comment = json.dumps({"text2sign_sentence": FORMAT, "signs": facts, "blended": num_blended, "fps": fps})
    is_new = not is_there(output / name, comment)
    if is_new:
        write_clip(output / name, frames, fps=fps, comment=comment)
    spans = [
        Span(sign, round(at.start / fps, 3), round(at.stop / fps, 3)) for sign, at in zip(signs, places, strict=True)
    ]
    return row._replace(spans=tuple(spans)), name, is_new


def _stem(sentence: Sentence) -> str:
    """``again_thank-you``: without a double line, which would be a group's."""
    words = (re.sub(r"[\W_]+", "-", sign).strip("-") or "sign" for sign in sentence.signs)
    return "_".join(words)[:STEM]
