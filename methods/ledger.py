"""The ledger of a folder of clips: what the training uses, what it does not and why, and what is odd with the rest.

Nothing is decided here: a clip is used if it is one of the dataset's, else it is one of its problems.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from config import Config, UserError
from dataset import DatasetError, Listed, TextToSignDataset, copies_among, parts_of, told_doubles
from utils.contact_sheet import contact_sheet
from utils.layouts.listing import Problem, Row
from utils.layouts.registry import read_listing
from utils.reading.bars import without_bars
from utils.reading.clip_cache import digest_of, stamp_of
from utils.reading.reader import Facts, read_facts
from utils.reading.signer import MOVES
from utils.video import VideoError

SHEET_CLIPS, SHEET_ROW = 24, 8
BINS, BAR = 8, 30  # of a histogram; letters of its longest line
REASONS = {"missing": "listed but missing", "row": "listed wrongly", "unreadable": "unreadable", "unlisted": "unlisted"}
SHOWN = 10  # names of a finding, in the text


@dataclass(frozen=True)
class Ledger:
    """``left_out`` has the lines of each of REASONS, ``findings`` names of used clips, None where they were not looked
    for; ``cut`` too, by their captions, None where the tokenizer is not at hand. Seconds, frames a second, px."""

    folder: str
    layout: str
    num_listed: int
    num_unlisted: int
    num_used: int
    left_out: dict[str, list[str]]
    findings: dict[str, list[str] | None]
    cut: list[str] | None
    remarks: list[str]
    seconds: list[float]
    rates: list[float]
    sizes: dict[str, int]
    signers: dict[str, int]
    splits: dict[str, int]

    @property
    def num_left_out(self) -> int:
        return sum(map(len, self.left_out.values()))

    def __str__(self) -> str:
        """Counts, a line for everything that is left out, findings, histograms."""
        told = ", ".join(f"{len(lines)} {REASONS[kind]}" for kind, lines in self.left_out.items() if lines) or "none"
        cut = "not counted, the text encoder is not here" if self.cut is None else _some(self.cut)
        lines = [
            f"{self.folder}: layout {self.layout}, {self.num_listed} clips listed, {self.num_unlisted} unlisted",
            f"used {self.num_used}, left out {self.num_left_out}: {told}",
            *(f"left out: {line}" for kind in REASONS for line in self.left_out[kind]),
            *(f"{what}: {_some(names)}" for what, names in self.findings.items() if names),
            *(f"{what}: not looked for" for what, names in self.findings.items() if names is None),
            f"captions cut by TEXT_MAX_LENGTH: {cut}",
            *(f"note: {remark}" for remark in self.remarks),
            *_histogram("seconds", self.seconds),
            *_histogram("frames a second", self.rates),
        ]
        for what in ("sizes", "signers", "splits"):
            counts = Counter(getattr(self, what)).most_common(SHOWN + 1)
            more = ", ..." if len(counts) > SHOWN else ""
            lines += [f"{what}: " + ", ".join(f"{name} {n}" for name, n in counts[:SHOWN]) + more] if counts else []
        return "\n".join(lines)


class Headers:
    """The clips of a folder by their files' headers, times and first frames: far cheaper than a dataset, whose names
    these have. Only files of equal length are read, to find the same clip twice."""

    def __init__(self, config: Config) -> None:
        """Look at every file, on all cores.

        Raises:
            UserError: as ``TextToSignDataset``, but that no clip need be usable.
        """
        self.folder = Path(config.DATA_DIR)
        if not self.folder.is_dir():
            raise DatasetError(f"DATA_DIR={config.DATA_DIR} is no folder; name one with clips.")
        self.layout, listing = read_listing(self.folder, config.DATA_FORMAT)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            look = partial(_header, num_frames=config.NUM_FRAMES, rate=config.FRAME_RATE)
            found = list(
                tqdm(pool.map(look, listing.rows), total=len(listing.rows), desc="headers", delay=1, leave=False)
            )
        used = [(row, facts) for row, facts in zip(listing.rows, found, strict=True) if isinstance(facts, Facts)]
        unreadable = [Problem("unreadable", str(facts)) for facts in found if not isinstance(facts, Facts)]
        self.problems, self.rows = [*listing.problems, *unreadable], [row for row, _ in used]
        self.names, self.texts = [row.name for row in self.rows], [row.text for row in self.rows]
        self.facts = [facts for _, facts in used]
        self.remarks = listing.remarks + [remark for facts in self.facts for remark in facts.remarks]
        self.copies = copies_among(self.folder, self.names)
        lengths = [stamp_of(row.path) for row in self.rows]
        count = Counter(stamp[0] if stamp else None for stamp in lengths)
        self._contents = [
            f"{digest_of(row.path) if stamp and count[stamp[0]] > 1 else row.path} {row.start} {row.end}"
            for row, stamp in zip(self.rows, lengths, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def content(self, index: int) -> str:
        """The same for clips that are the same file and window."""
        return self._contents[index]


def _header(row: Row, *, num_frames: int, rate: float | None) -> Facts | VideoError:
    try:
        return read_facts(row, num_frames=num_frames, rate=rate)
    except VideoError as error:
        return error


def ledger_of(data: TextToSignDataset | Headers, config: Config, *, cut: list[str] | None) -> Ledger:
    """Of all that was read and left out, and of how it is split."""
    left_out = {kind: [p.text for p in data.problems if p.kind == kind] for kind in REASONS}
    num_unlisted = len(left_out["unlisted"])
    named = list(zip(data.names, data.facts, strict=True))
    still, barred = _seen(data) if isinstance(data, TextToSignDataset) else (None, None)
    num_frames = config.NUM_FRAMES
    try:
        doubles, remarks = told_doubles(data, parts_of(config, data)) if len(data) else [], []
    except UserError as error:
        doubles, remarks = [], [f"not to be trained on as it is: {error}"]
    return Ledger(
        folder=str(data.folder),
        layout=data.layout,
        num_listed=len(data) + len(data.problems) - num_unlisted,
        num_unlisted=num_unlisted,
        num_used=len(data),
        left_out=left_out,
        findings={
            f"shorter than {num_frames} frames": [name for name, facts in named if facts.num_source < num_frames],
            "without motion": still,
            "the same clip": _doubled(data),
            "to train on, and in another part too": doubles,
            "with black bars in the middle square": barred,
            "turned upright": [name for name, facts in named if facts.rotation % 360],
        },
        cut=cut,
        remarks=data.remarks + remarks,
        seconds=[facts.seconds for facts in data.facts],
        rates=[facts.frames_per_second for facts in data.facts],
        sizes=dict(Counter("{}x{}".format(*facts.size) for facts in data.facts)),
        signers=dict(Counter(row.signer for row in data.rows if row.signer)),
        splits=dict(Counter(row.split for row in data.rows if row.split)),
    )


def sheet_of(data: TextToSignDataset) -> Image.Image:
    """Middle frames of 24 clips, spread over the folder, as training sees them."""
    number = min(SHEET_CLIPS, len(data))
    chosen = [(2 * i + 1) * len(data) // (2 * number) for i in range(number)]
    bands = [chosen[start : start + SHEET_ROW] for start in range(0, number, SHEET_ROW)]
    sheets = [contact_sheet([("", [data.frames(i) for i in band])], [data.texts[i] for i in band]) for band in bands]
    whole = Image.new("RGB", (max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)), "white")
    for index, sheet in enumerate(sheets):
        whole.paste(sheet, (0, sum(above.height for above in sheets[:index])))
    return whole


def _seen(data: TextToSignDataset) -> tuple[list[str], list[str]]:
    """Names of the clips that show no motion, and of those with black bars, by the frames that training sees."""
    still, barred = [], []
    for index, name in enumerate(data.names):
        frames = data.frames(index)
        if int((frames.max(axis=0) - frames.min(axis=0)).max()) <= MOVES:
            still.append(name)
        if without_bars(frames) != (0, 0, frames.shape[2], frames.shape[1]):
            barred.append(name)
    return still, barred


def _doubled(data: Listed) -> list[str]:
    """``a = b``, with their splits where they differ, of clips with the same content and window."""
    same: dict[str, list[int]] = {}
    for index in range(len(data)):
        same.setdefault(data.content(index), []).append(index)
    found = []
    for indices in (indices for indices in same.values() if len(indices) > 1):
        splits = {data.rows[i].split for i in indices}
        told = [f"{data.names[i]} ({data.rows[i].split})" if len(splits) > 1 else data.names[i] for i in indices]
        found.append(" = ".join(told))
    return found


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)}: {', '.join(names[:SHOWN])}{more}" if names else "0"


def _histogram(what: str, values: Sequence[float]) -> list[str]:
    """A line each of some equal parts of their range; one line where they are all the same."""
    if not values:
        return []
    low, high = min(values), max(values)
    if high - low < 0.01:
        return [f"{what}: {low:.4g} for all"]
    counts, edges = np.histogram(values, bins=BINS)
    bars: list[Any] = ["#" * round(BAR * count / counts.max()) for count in counts]
    return [f"{what}:"] + [
        f"  {left:7.2f} to {right:7.2f}  {count:6d} {bar}"
        for left, right, count, bar in zip(edges, edges[1:], counts, bars, strict=False)
    ]
