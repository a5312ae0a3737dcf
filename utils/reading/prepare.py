"""Video files of any layout -> small clips with a ``metadata.csv``, cropped to where the hands move, or drawn.

The crop decides whether a hand is 6 or 14 pixels wide at 64 px. Each clip is made once: one whose comment says the same
source, window and settings is kept, so that an interrupted run goes on where it stopped. The table is written at the
end, when all that it lists is there; it keeps texts, signers and the data's own split.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path, PurePath
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from utils.files import write_file
from utils.fingerspelling.drawing import MIN_SEEN
from utils.gif import MAX_FPS
from utils.layouts.listing import Row
from utils.layouts.registry import read_listing
from utils.reading import pose
from utils.reading.clip import Source
from utils.reading.landmarks import Signer, draw_signer, pose_square, signer_of
from utils.reading.reader import open_source, window_of
from utils.reading.signer import Square, around, middle_square, signing_square, signing_time
from utils.reading.timeline import even_moments
from utils.video import VideoError
from utils.writing import FORMS, MAX_MP4_FPS, read_comment, write_clip

Item, Done = TypeVar("Item"), TypeVar("Done")

FORMAT = 2
TABLE = "metadata.csv"
LOOK_SIDE, LOOK_FRAMES = 64, 48  # px and frames that are looked at to find where and when somebody signs
MAX_SECONDS = 60.0  # of a clip; a recording wants rows with start and end


@dataclass(frozen=True)
class Settings:
    """Of a run: ``size`` px; ``form`` mp4 or gif; ``crop`` to the signer of each clip, to one square for the whole set,
    to the centre, each without black bars, or to shoulders and hands (``pose``); ``trim`` the rest at both ends;
    ``draw`` the landmarks in place of the picture. ``square`` is the set's, once it is known, ``tracker`` what finds
    landmarks, where they are wanted."""

    size: int
    form: str = "mp4"
    crop: str = "signer"
    trim: bool = True
    draw: bool = False
    square: Square | None = None
    tracker: str = ""


@dataclass
class VideosReport:
    """What became of every listed and unlisted clip; the numbers add up."""

    layout: str
    num_listed: int = 0
    written: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # with the reason
    unlisted: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    splits: Counter[str] = field(default_factory=Counter)  # of those in use, where the data name them

    def __str__(self) -> str:
        """Counts, then a line for everything that is not used or was changed."""
        counts = f"{len(self.written)} written, {len(self.kept)} kept, {len(self.left_out)} left out"
        lines = [f"layout {self.layout}: {self.num_listed} clips listed: {counts}; {len(self.unlisted)} unlisted"]
        if self.splits:
            found = ", ".join(f"{split} {number}" for split, number in sorted(self.splits.items()))
            lines.append(f"of these, by the data's own split: {found}")
        lines += [f"left out: {line}" for line in (*self.left_out, *self.unlisted)]
        return "\n".join([*lines, *(f"note: {line}" for line in self.remarks)])


def prepare_videos(folder: Path, output: Path, settings: Settings, *, layout: str = "auto") -> VideosReport:
    """Write every clip of ``folder`` that can be read, on all cores, and OUTPUT/metadata.csv, which lists them.

    Raises:
        LayoutError: no folder, or its list cannot be read.
        PoseExtraError: landmarks are wanted, and MediaPipe is not installed.
        FileError: the disk refuses the table.
    """
    if settings.draw or settings.crop == "pose":
        settings = replace(settings, tracker=pose.tracker())
    name, listing = read_listing(folder, layout)
    listing.rows = [row._replace(spans=()) for row in listing.rows]  # times of clips that are cut here
    report = VideosReport(name, listing.num_listed, remarks=listing.remarks)
    for problem in listing.problems:
        (report.unlisted if problem.kind == "unlisted" else report.left_out).append(problem.text)
    if settings.crop == "set":
        squares = [square for square in on_all_cores(_square_of, listing.rows, "looking") if square]
        settings = replace(settings, square=around(squares) if squares else None)
    pairs = list(zip(listing.rows, names_of(listing.rows, FORMS[settings.form].suffix), strict=True))
    convert = partial(_convert, output=output, settings=settings)
    used = []
    for pair, (outcome, remarks) in zip(pairs, on_all_cores(convert, pairs, "reading videos"), strict=True):
        report.remarks += remarks
        if outcome in ("written", "kept"):
            used.append(pair)
            (report.written if outcome == "written" else report.kept).append(pair[1])
        else:
            report.left_out.append(outcome)
    report.splits = Counter(row.split for row, _ in used if row.split)
    if used:
        write_file(output / TABLE, table(used))
    return report


def names_of(rows: Sequence[Row], suffix: str) -> list[str]:
    """A file for each row, below the output folder whatever the row's name says, no two the same."""
    found: dict[str, None] = {}
    for row in rows:
        own = PurePath(row.name)
        stem = "/".join(part for part in own.parts if part not in (own.anchor, "..")) or "clip"
        others = (f"{stem}_{number}{suffix}" for number in range(2, len(rows) + 2))
        found[next(name for name in (f"{stem}{suffix}", *others) if name not in found)] = None
    return list(found)


def table(pairs: Sequence[tuple[Row, str]]) -> bytes:
    """The rows by the names of their files; a column of spans where some have them."""
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    spans = ["spans"] if any(row.spans for row, _ in pairs) else []
    writer.writerow(["file_name", "text", "signer", "split", *spans])
    for row, name in pairs:
        writer.writerow(
            [name, row.text, row.signer, row.split, *(json.dumps(row.spans, ensure_ascii=False) for _ in spans)]
        )
    return lines.getvalue().encode()


def _convert(pair: tuple[Row, str], *, output: Path, settings: Settings) -> tuple[str, list[str]]:
    """("written" or "kept" or why it is left out, remarks)."""
    row, path = pair[0], output / pair[1]
    try:
        comment = _comment(row, settings)
        if is_there(path, comment):
            return "kept", []
        frames, fps, remarks = _frames(row, settings)
        write_clip(path, frames, fps=fps, comment=comment)
        return "written", remarks
    except (VideoError, OSError) as error:
        return str(error), []


def _frames(row: Row, settings: Settings) -> tuple[np.ndarray, float, list[str]]:
    """(F, size, size, 3) uint8, its frames per second, remarks."""
    with open_source(row) as source:
        timeline = source.timeline
        left, right = window_of(row, timeline)
        if right - left > MAX_SECONDS:
            raise VideoError(f"{row.path}: {right - left:.0f} s; wanted at most {MAX_SECONDS:g}, by start and end")
        small, starts = look(source, left, right)
        if settings.trim:
            left, right = signing_time(small, np.maximum(starts, left), right)
        most = MAX_FPS if settings.form == "gif" else MAX_MP4_FPS
        fps = max(1.0, min(most, timeline.frames_per_second))
        moments = even_moments(left, right, max(2, round((right - left) * fps)))
        indices = timeline.shown_at(moments).tolist()
        signer = _signer(source, indices, fps) if settings.tracker else None
        square = settings.square or _square(small, settings, signer)
        if settings.draw and signer:
            return draw_signer(signer, square, settings.size), fps, [*source.remarks, *_remarks(row, signer)]
        pictures = source.pictures(indices, side=round(settings.size / square.side))
        frames = np.stack([cut(picture.pixels, square, settings.size) for picture in pictures])
        return frames, fps, source.remarks


def _signer(source: Source, indices: list[int], fps: float) -> Signer:
    found = pose.find_signer(picture.pixels for picture in source.pictures(indices, side=pose.SIDE))
    signer = signer_of(found, fps)
    if signer is None:
        raise VideoError(f"{source.path}: MediaPipe finds no shoulders; wanted a signer")
    return signer


def _square(small: np.ndarray, settings: Settings, signer: Signer | None) -> Square:
    """Of a clip by itself."""
    if settings.crop == "pose" and signer:
        return pose_square(signer, small, lost=not settings.draw)
    return (middle_square if settings.crop == "centre" else signing_square)(small)


def _remarks(row: Row, signer: Signer) -> list[str]:
    """
    Raises:
        VideoError: no frame shows a hand.
    """
    shown = np.isfinite(signer.points.hands).all(axis=(2, 3)).any(axis=0)
    if not shown.any():
        raise VideoError(f"{row.path}: MediaPipe finds no hand; wanted some to draw")
    few = f"{row.path}: a hand is drawn in {shown.sum()} of {len(shown)} frames alone; MediaPipe finds no more"
    return [few] if shown.mean() < MIN_SEEN else []


def look(source: Source, left: float, right: float) -> tuple[np.ndarray, np.ndarray]:
    """Some small frames (F, h, w, 3) uint8 of a clip, and when each appears, in seconds."""
    timeline = source.timeline
    indices = sorted(set(timeline.shown_at(even_moments(left, right, LOOK_FRAMES)).tolist()))
    if len(indices) < 2:
        raise VideoError(f"{source.path}: one frame; wanted a clip of at least 2")
    return np.stack([picture.pixels for picture in source.pictures(indices, side=LOOK_SIDE)]), timeline.starts[indices]


def _square_of(row: Row) -> Square | None:
    """Where the clip signs; None where it cannot be read, which is told when it is converted."""
    try:
        with open_source(row) as source:
            return signing_square(look(source, *source.timeline.window(row.start, row.end))[0])
    except (VideoError, OSError):
        return None


def cut(pixels: np.ndarray, square: Square, size: int) -> np.ndarray:
    """The square of a picture (h, w, 3), ``size`` px wide; beyond the picture its edge is repeated."""
    shorter = min(pixels.shape[:2])
    rows, columns = (
        np.clip(_start(round(at * shorter), end, size) + np.arange(size), 0, end - 1)
        for at, end in ((square.top, pixels.shape[0]), (square.left, pixels.shape[1]))
    )
    return pixels[rows[:, None], columns]


def _start(at: int, end: int, size: int) -> int:
    """Of ``size`` px that are moved inside ``end`` px if they fit."""
    return min(max(at, 0), end - size) if size <= end else at


def _comment(row: Row, settings: Settings) -> str:
    """What decides a clip: the source by name, size and time, how it is read, the settings."""
    files = sorted(row.path.iterdir()) if row.path.is_dir() else [row.path]
    found = [path.stat() for path in files]
    source = [row.path.name, sum(one.st_size for one in found), max(one.st_mtime_ns for one in found)]
    read = [row.start, row.end, row.frames_per_second, row.stretch]
    facts = {"text2sign_video": FORMAT, "source": source, "read": read, "settings": asdict(settings)}
    return json.dumps(facts, ensure_ascii=False)


def is_there(path: Path, comment: str) -> bool:
    """Whether the clip at ``path`` was made of the same, by the same settings."""
    try:
        return path.is_file() and read_comment(path) == comment
    except VideoError:
        return False


def on_all_cores(do: Callable[[Item], Done], items: Sequence[Item], doing: str) -> Iterator[Done]:
    """The results in the order of ``items``. Threads, since what takes long lets go of Python's lock; where the run is
    interrupted, those at work finish their clip."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            yield from tqdm(pool.map(do, items), total=len(items), desc=doing, unit="clip", disable=None)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
