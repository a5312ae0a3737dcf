"""Drawn clips -> GIF + TXT pairs in folders, each with a manifest of its copies. Knows nothing of what is drawn."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from utils.files import write_file
from utils.fingerspelling.drawing import PoseError
from utils.fingerspelling.variation import Variation, draw_variation
from utils.writing import write_clip

MANIFEST = "fingerspelling.json"
CLIPS_PER_PROCESS = 32  # fewer are done sooner than another process starts


@dataclass(frozen=True)
class Clip:
    """A clip that can be drawn: names and texts only, so that it costs nothing until then."""

    folder: str  # below the output folder
    name: str  # of its files, without suffix, ASCII
    caption: str
    sources: tuple[str, ...]  # the lexicon's files of its letters, in order


@dataclass(frozen=True)
class Look:
    """What all clips of a run have in common: height and width in px, frames, frames/s.

    Each is drawn as it is and ``copies`` times in other ways, which ``seed`` decides (``draw_variation``).
    """

    image_size: int
    num_frames: int
    fps: int
    copies: int = 0
    seed: int = 0


@dataclass(frozen=True)
class _Pair:
    """A clip's copy and its two files; copy 0 is the clip itself."""

    output: Path
    clip: Clip
    copy: int

    @property
    def stem(self) -> str:
        """``ase_A``, its copies ``ase_A__1``: one group, which a split keeps together."""
        return self.clip.name + (f"__{self.copy}" if self.copy else "")

    @property
    def gif(self) -> Path:
        return self.output / self.clip.folder / f"{self.stem}.gif"


@dataclass(frozen=True)
class LexiconReport:
    """What became of every asked row: three lists of names such as ``ase_A``; the last two with the reason.

    ``folders`` are those of the clips, below the output; ``left_over`` the GIFs there that this run did not ask for.
    """

    written: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    failed: tuple[tuple[str, str], ...]
    folders: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Counts, then every skipped and failed row with its reason, then what else lies there."""
        lines = [f"{len(self.written)} clips written."]
        for kind, rows in (("skipped", self.skipped), ("failed", self.failed)):
            lines += [f"{kind}: {name}: {reason}" for name, reason in rows]
        if self.left_over:
            lines.append(
                f"{len(self.left_over)} other clips lie there and will be trained on too, from {self.left_over[0]} "
                f"to {self.left_over[-1]}; delete what is not wanted."
            )
        return "\n".join(lines)


def render_clips(
    output: Path,
    clips: Sequence[Clip],
    draw: Callable[[Clip, Look, Variation], np.ndarray],
    *,
    look: Look,
    skipped: Sequence[tuple[str, str]] = (),
) -> LexiconReport:
    """Writes what ``draw`` gives, (F, H, W, 3) uint8, of every clip; it must be picklable and may raise PoseError.

    What lies there already is replaced. The number of processes, at most one per core, changes the time, never the
    files.

    Raises:
        VideoError: a file cannot be written.
    """
    pairs = [_Pair(output, clip, copy) for clip in clips for copy in range(look.copies + 1)]
    reasons = dict(zip(pairs, _render_all(partial(_render, draw=draw, look=look), pairs), strict=True))
    written = [pair for pair, reason in reasons.items() if reason is None]
    folders = sorted({pair.gif.parent for pair in pairs})
    for folder in folders:
        _note_copies(folder, {pair.stem: pair.clip.name for pair in written if pair.copy and pair.gif.parent == folder})
    left_over = {gif for folder in folders for gif in folder.glob("*.gif")} - {pair.gif for pair in pairs}
    return LexiconReport(
        written=tuple(pair.stem for pair in written),
        skipped=tuple(skipped),
        failed=tuple((pair.stem, reason) for pair, reason in reasons.items() if reason is not None),
        folders=tuple(sorted({pair.clip.folder for pair in written})),
        left_over=tuple(sorted(gif.relative_to(output).as_posix() for gif in left_over)),
    )


def _render(pair: _Pair, *, draw: Callable[[Clip, Look, Variation], np.ndarray], look: Look) -> str | None:
    """Writes one pair; the reason if the points cannot be drawn."""
    clip = pair.clip
    try:
        frames = draw(clip, look, draw_variation(look.seed, clip.name, pair.copy))
    except PoseError as error:
        return str(error)
    comment = f"{clip.caption}; spoken-to-signed (MIT), {', '.join(clip.sources)}"
    write_file(pair.gif.with_suffix(".txt"), f"{clip.caption}\n".encode())
    write_clip(pair.gif, frames, fps=look.fps, comment=comment)
    return None


def _render_all(render: partial[str | None], pairs: Sequence[_Pair]) -> list[str | None]:
    """The results in the order of ``pairs``, with a progress bar where there is a terminal."""
    num_processes = min(os.cpu_count() or 1, -(-len(pairs) // CLIPS_PER_PROCESS))
    with ProcessPoolExecutor(num_processes) if num_processes > 1 else contextlib.nullcontext() as pool:
        results = pool.map(render, pairs, chunksize=8) if pool else map(render, pairs)
        return list(tqdm(results, total=len(pairs), desc="Rendering", unit="clip", disable=None))


def copies_in(folder: Path) -> dict[str, str]:
    """Name of each copy that ``render_clips`` drew into a folder -> that of its clip; empty where it drew none."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8")).get("copies", {})
        return {stem: str(clip) for stem, clip in found.items()}
    except (OSError, ValueError, AttributeError):  # no manifest, or none that we wrote
        return {}


def _note_copies(folder: Path, copies: dict[str, str]) -> None:
    """Adds ``copies`` to those of the folder that are still there."""
    known = {stem: clip for stem, clip in (copies_in(folder) | copies).items() if (folder / f"{stem}.gif").is_file()}
    write_file(folder / MANIFEST, f"{json.dumps({'copies': known}, indent=1, sort_keys=True)}\n".encode())
