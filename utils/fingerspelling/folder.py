"""Drawn clips -> GIF + TXT pairs in folders, each made once: what is there and unchanged is reused.

Every folder has a manifest of the settings and of each file's digest. Knows nothing of what is drawn.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from tqdm import tqdm

from utils.fingerspelling.drawing import PoseError
from utils.gif import write_gif
from utils.video import write_atomically

RENDERER_VERSION = 2  # raised whenever the same points give other files
MANIFEST = "fingerspelling.json"
CLIPS_PER_PROCESS = 32  # fewer are done sooner than another process starts


class Drawing(Protocol):
    """A clip that can be drawn: names and texts only, so that it costs nothing until then."""

    @property
    def folder(self) -> str:
        """Below the output folder."""

    @property
    def stem(self) -> str:
        """File name without suffix, ASCII."""

    @property
    def caption(self) -> str:
        """What training reads."""

    @property
    def source(self) -> str:
        """The lexicon's files behind it, for the GIF's comment."""


Clip = TypeVar("Clip", bound=Drawing)


@dataclass(frozen=True)
class LexiconReport:
    """What became of every asked row: four lists of names such as ``ase_A``; the last two with the reason.

    ``folders`` are those of the clips, below the output; ``left_over`` the GIFs there that this run did not ask for.
    """

    written: tuple[str, ...]
    reused: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    failed: tuple[tuple[str, str], ...]
    folders: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Counts, then every skipped and failed row with its reason, then what else lies there."""
        lines = [f"{len(self.written)} clips written, {len(self.reused)} reused."]
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
    draw: Callable[[Clip], np.ndarray],
    *,
    fps: int,
    settings: dict[str, Any],
    skipped: Sequence[tuple[str, str]] = (),
    overwrite: bool = False,
    num_processes: int | None = None,
) -> LexiconReport:
    """Writes ``draw(clip)``, (F, H, W, 3) uint8, of every clip; ``draw`` must be picklable and may raise PoseError.

    A pair that is there already is reused if ``settings``, renderer and bytes agree with the folder's manifest, unless
    ``overwrite``. ``num_processes`` (None: one per core) changes the time, never the files.

    Raises:
        VideoError: a file cannot be written.
    """
    settings = {"renderer": RENDERER_VERSION, "fps": fps, **settings}
    known = {} if overwrite else _known_files(output, {clip.folder for clip in clips}, settings)
    reused = [clip for clip in clips if _is_unchanged(output, clip, known)]
    kept = set(reused)
    todo = [clip for clip in clips if clip not in kept]
    results = list(_map(partial(_render, draw=draw, output=output, fps=fps), todo, num_processes))
    _write_manifests(output, clips, settings, known)
    failed = {clip: reason for clip, reason in zip(todo, results, strict=True) if reason is not None}
    return LexiconReport(
        written=tuple(clip.stem for clip in todo if clip not in failed),
        reused=tuple(clip.stem for clip in reused),
        skipped=tuple(skipped),
        failed=tuple((clip.stem, reason) for clip, reason in failed.items()),
        folders=tuple(sorted({clip.folder for clip in clips if clip not in failed})),
        left_over=tuple(_left_over(output, clips)),
    )


def _render(clip: Clip, *, draw: Callable[[Clip], np.ndarray], output: Path, fps: int) -> str | None:
    """Writes one pair; the reason if the points cannot be drawn."""
    try:
        frames = draw(clip)
    except PoseError as error:
        return str(error)
    gif, txt = _pair(output, clip)
    write_atomically(txt, f"{clip.caption}\n".encode())
    write_gif(gif, frames, fps=fps, comment=f"{clip.caption}; spoken-to-signed (MIT), {clip.source}")
    return None


def _map(render: partial[str | None], clips: Sequence[Drawing], num_processes: int | None) -> Iterator[str | None]:
    """The results in the order of ``clips``, with a progress bar where there is a terminal."""
    wanted = num_processes or min(os.cpu_count() or 1, -(-len(clips) // CLIPS_PER_PROCESS))
    bar = partial(tqdm, total=len(clips), desc="Rendering", unit="clip", disable=None)
    if wanted <= 1:
        yield from bar(map(render, clips))
        return
    with ProcessPoolExecutor(wanted) as pool:
        yield from bar(pool.map(render, clips, chunksize=8))


def _pair(output: Path, clip: Drawing) -> tuple[Path, Path]:
    folder = Path(output) / clip.folder
    return folder / f"{clip.stem}.gif", folder / f"{clip.stem}.txt"


def _known_files(output: Path, folders: set[str], settings: dict[str, Any]) -> dict[tuple[str, str], str]:
    """(folder, name) -> digest of the GIFs that earlier runs wrote with the same settings."""
    known: dict[tuple[str, str], str] = {}
    for folder in folders:
        try:
            manifest = json.loads((Path(output) / folder / MANIFEST).read_text(encoding="utf-8"))
            if manifest["settings"] == settings:
                known |= {(folder, stem): digest for stem, digest in manifest["files"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # no manifest, or none that we wrote: nothing is known, and everything is rendered
    return known


def _is_unchanged(output: Path, clip: Drawing, known: dict[tuple[str, str], str]) -> bool:
    gif, txt = _pair(output, clip)
    digest = known.get((clip.folder, clip.stem))
    if digest is None or not gif.is_file() or not txt.is_file():
        return False
    return _digest(gif) == digest and txt.read_bytes() == f"{clip.caption}\n".encode()


def _write_manifests(
    output: Path, clips: Sequence[Drawing], settings: dict[str, Any], known: dict[tuple[str, str], str]
) -> None:
    """One per folder, after all of its files, so that a run that was stopped is repeated.

    What ``known`` tells of clips that were not asked for this time is kept, so that asking again reuses them.
    """
    for folder in sorted({clip.folder for clip in clips}):
        own = [clip for clip in clips if clip.folder == folder]
        asked = {clip.stem for clip in own}
        files = {stem: digest for (where, stem), digest in known.items() if where == folder and stem not in asked}
        files |= {clip.stem: _digest(gif) for clip in own if (gif := _pair(output, clip)[0]).is_file()}
        text = json.dumps({"settings": settings, "files": files}, indent=1, sort_keys=True)
        write_atomically(Path(output) / folder / MANIFEST, f"{text}\n".encode())


def _left_over(output: Path, clips: Sequence[Drawing]) -> list[str]:
    """GIFs in the clips' folders that are none of ``clips``."""
    asked = {(clip.folder, clip.stem) for clip in clips}
    found = [gif for folder in {clip.folder for clip in clips} for gif in (Path(output) / folder).glob("*.gif")]
    rest = [gif for gif in found if (gif.parent.relative_to(output).as_posix(), gif.stem) not in asked]
    return sorted(gif.relative_to(output).as_posix() for gif in rest)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
