"""Drawn clips -> GIF + TXT pairs in folders, each made once: what is there and unchanged is reused.

Every folder has a manifest of the settings, the digests of its files and the copies among them. Knows nothing of what
is drawn.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from tqdm import tqdm

from utils.files import write_file
from utils.fingerspelling.drawing import PoseError
from utils.fingerspelling.variation import Variation, draw_variation
from utils.gif import write_gif

RENDERER_VERSION = 2  # raised whenever the same points give other files
MANIFEST = "fingerspelling.json"
CLIPS_PER_PROCESS = 32  # fewer are done sooner than another process starts


class Drawing(Protocol):
    """A clip that can be drawn: names and texts only, so that it costs nothing until then."""

    @property
    def folder(self) -> str:
        """Below the output folder."""

    @property
    def name(self) -> str:
        """Of its files, without suffix, ASCII."""

    @property
    def caption(self) -> str:
        """What training reads."""

    @property
    def source(self) -> str:
        """The lexicon's files behind it, for the GIF's comment."""


Clip = TypeVar("Clip", bound=Drawing)


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
    clip: Drawing
    copy: int

    @property
    def stem(self) -> str:
        """``ase_A``, its copies ``ase_A__1``: one group, which a split keeps together."""
        return self.clip.name + (f"__{self.copy}" if self.copy else "")

    @property
    def gif(self) -> Path:
        return self.output / self.clip.folder / f"{self.stem}.gif"

    @property
    def txt(self) -> Path:
        return self.gif.with_suffix(".txt")


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
    draw: Callable[[Clip, Look, Variation], np.ndarray],
    *,
    look: Look,
    skipped: Sequence[tuple[str, str]] = (),
    num_processes: int | None = None,
) -> LexiconReport:
    """Writes what ``draw`` gives, (F, H, W, 3) uint8, of every clip; it must be picklable and may raise PoseError.

    A pair that is there already is reused if ``look``, renderer and bytes agree with the folder's manifest.
    ``num_processes`` (None: one per core) changes the time, never the files.

    Raises:
        VideoError: a file cannot be written.
    """
    pairs = [_Pair(output, clip, copy) for clip in clips for copy in range(look.copies + 1)]
    settings = {"renderer": RENDERER_VERSION, **asdict(look)}
    del settings["copies"]
    known = _known_files(output, {clip.folder for clip in clips}, settings)
    reused = [pair for pair in pairs if _is_unchanged(pair, known)]
    kept = set(reused)
    todo = [pair for pair in pairs if pair not in kept]
    results = list(_map(partial(_render, draw=draw, look=look), todo, num_processes))
    _write_manifests(output, pairs, settings, known)
    failed = {pair: reason for pair, reason in zip(todo, results, strict=True) if reason is not None}
    return LexiconReport(
        written=tuple(pair.stem for pair in todo if pair not in failed),
        reused=tuple(pair.stem for pair in reused),
        skipped=tuple(skipped),
        failed=tuple((pair.stem, reason) for pair, reason in failed.items()),
        folders=tuple(sorted({pair.clip.folder for pair in pairs if pair not in failed})),
        left_over=tuple(_left_over(output, pairs)),
    )


def _render(pair: _Pair, *, draw: Callable[[Any, Look, Variation], np.ndarray], look: Look) -> str | None:
    """Writes one pair; the reason if the points cannot be drawn."""
    clip = pair.clip
    try:
        frames = draw(clip, look, draw_variation(look.seed, clip.name, pair.copy))
    except PoseError as error:
        return str(error)
    write_file(pair.txt, f"{clip.caption}\n".encode())
    write_gif(pair.gif, frames, fps=look.fps, comment=f"{clip.caption}; spoken-to-signed (MIT), {clip.source}")
    return None


def _map(render: partial[str | None], pairs: Sequence[_Pair], num_processes: int | None) -> Iterator[str | None]:
    """The results in the order of ``pairs``, with a progress bar where there is a terminal."""
    wanted = num_processes or min(os.cpu_count() or 1, -(-len(pairs) // CLIPS_PER_PROCESS))
    bar = partial(tqdm, total=len(pairs), desc="Rendering", unit="clip", disable=None)
    if wanted <= 1:
        yield from bar(map(render, pairs))
        return
    with ProcessPoolExecutor(wanted) as pool:
        yield from bar(pool.map(render, pairs, chunksize=8))


def _known_files(output: Path, folders: set[str], settings: dict[str, Any]) -> dict[Path, str]:
    """GIF -> digest, of those that earlier runs wrote with the same settings."""
    known: dict[Path, str] = {}
    for folder in (output / name for name in folders):
        manifest = _manifest_of(folder)
        if manifest["settings"] == settings:
            known |= {folder / f"{stem}.gif": digest for stem, digest in manifest["files"].items()}
    return known


def _manifest_of(folder: Path) -> dict[str, dict[str, Any]]:
    """With empty parts where there is no manifest, or none that we wrote: then everything is rendered."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return {part: dict(found.get(part, {})) for part in ("settings", "files", "copies")}
    except (OSError, ValueError, TypeError, AttributeError):
        return {"settings": {}, "files": {}, "copies": {}}


def _is_unchanged(pair: _Pair, known: dict[Path, str]) -> bool:
    if pair.gif not in known or not pair.gif.is_file() or not pair.txt.is_file():
        return False
    return _digest(pair.gif) == known[pair.gif] and pair.txt.read_bytes() == f"{pair.clip.caption}\n".encode()


def _write_manifests(output: Path, pairs: Sequence[_Pair], settings: dict[str, Any], known: dict[Path, str]) -> None:
    """One per folder, after all of its files, so that a run that was stopped is repeated.

    What ``known`` tells of clips that were not asked for this time is kept, so that asking again reuses them.
    """
    asked = {pair.gif for pair in pairs}
    digests = {gif: digest for gif, digest in known.items() if gif not in asked}
    digests |= {gif: _digest(gif) for gif in asked if gif.is_file()}
    for folder in sorted({gif.parent for gif in asked}):
        files = {gif.stem: digest for gif, digest in digests.items() if gif.parent == folder}
        copies = copies_in(folder) | {pair.stem: pair.clip.name for pair in pairs if pair.copy}
        copies = {stem: clip for stem, clip in copies.items() if (folder / f"{stem}.gif").is_file()}
        text = json.dumps({"settings": settings, "files": files, "copies": copies}, indent=1, sort_keys=True)
        write_file(folder / MANIFEST, f"{text}\n".encode())


def copies_in(folder: Path) -> dict[str, str]:
    """Name of each copy that ``render_clips`` drew into a folder -> that of its clip; empty where it drew none."""
    return {copy: str(clip) for copy, clip in _manifest_of(folder)["copies"].items()}


def _left_over(output: Path, pairs: Sequence[_Pair]) -> list[str]:
    """GIFs in the clips' folders that are none of ``pairs``."""
    asked = {pair.gif for pair in pairs}
    found = {gif for folder in {gif.parent for gif in asked} for gif in folder.glob("*.gif")}
    return sorted(gif.relative_to(output).as_posix() for gif in found - asked)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
