"""Twelve things that happen to a clip's file after it was read, and who notices: the next start, or ``--verify``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.films import SECONDS_AGO, tiny_gif
from dataset import TextToSignDataset
from utils.writing import write_clip

SIZE = {"num_frames": 2, "image_size": 8}
Change = Callable[[Path], object]


def edit(path: Path) -> None:
    """Other bytes, as many as there were, now."""
    num_bytes = path.stat().st_size
    assert path.write_bytes(tiny_gif(9)) == num_bytes


def edit_at(path: Path, *, later_ns: int) -> None:
    """Other bytes, as many as there were, at another time than the file had, or at the same."""
    before = path.stat()
    edit(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + later_ns))


def replace(path: Path) -> None:
    """By a file that was written elsewhere, at the same size, and is older."""
    other = path.with_name("other.partial")
    other.write_bytes(tiny_gif(9))
    _age(other, 2)
    os.replace(other, path)


def exchange(one: Path, two: Path) -> None:
    """Names."""
    beside = one.with_name("beside")
    one.rename(beside)
    two.rename(one)
    beside.rename(two)


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("1.gif")


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 9)


def edit_frame(folder: Path) -> None:
    """One frame's bytes of a folder, and its time set back."""
    frame = folder / "00001.png"
    before = frame.stat()
    assert frame.write_bytes((folder / "00003.png").read_bytes()) == before.st_size
    os.utime(frame, ns=(before.st_atime_ns, before.st_mtime_ns - 10**9))


CHANGES: dict[str, Change] = {  # of the clip 0.gif in the folder that is given
    "other bytes, as many": lambda folder: edit(folder / "0.gif"),
    "other bytes, as many, a nanosecond older": lambda folder: edit_at(folder / "0.gif", later_ns=-1),
    "replaced by an older file of its size": lambda folder: replace(folder / "0.gif"),
    "exchanged with another of its size": lambda folder: exchange(folder / "0.gif", folder / "1.gif"),
    "became a link to another": lambda folder: link(folder / "0.gif"),
    "cut short": lambda folder: cut(folder / "0.gif"),
    "grown": lambda folder: grow(folder / "0.gif"),
    "gone": lambda folder: (folder / "0.gif").unlink(),
    "two frames of a folder exchanged": lambda f: exchange(f / "frames" / "00001.png", f / "frames" / "00002.png"),
    "a frame of a folder other, its time set back": lambda folder: edit_frame(folder / "frames"),
    "other bytes, as many, within its clock's tick of the reading": lambda folder: edit_at(
        folder / "new.gif", later_ns=0
    ),
    "other bytes, as many, its time set back": lambda folder: edit_at(folder / "0.gif", later_ns=0),
}


def noticed(place: Path) -> dict[str, str]:
    """Of each change who notices it: "the next start", "--verify alone" or "nobody"."""
    return {name: noticed_by(place / str(number), change) for number, (name, change) in enumerate(CHANGES.items())}


def noticed_by(place: Path, change: Change) -> str:
    """Who notices ``change`` of clips that are made for it in ``place``."""
    folder, cache = place / "clips", place / "cache"
    _write(folder)
    before = _content(folder, cache)
    change(folder)
    wanted = _content(folder, "")
    assert wanted != before
    if _content(folder, cache) == wanted:
        return "the next start"
    return "--verify alone" if _content(folder, cache, verify=True) == wanted else "nobody"


def _write(folder: Path) -> None:
    """Three clips and a folder of frames, all of yesterday but one, which is new."""
    folder.mkdir(parents=True)
    for name, number in (("0", 0), ("1", 1), ("new", 2)):
        (folder / f"{name}.gif").write_bytes(tiny_gif(number))
    frames = np.arange(100, 103, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2).repeat(3, 3)
    write_clip(folder / "frames", frames, fps=8)
    for name in ("0", "1", "new", "frames"):
        (folder / f"{name}.txt").write_text(name)
    for number, path in enumerate(sorted(folder.rglob("*"), reverse=True)):  # frames before their folder
        if path.name != "new.gif":
            _age(path, 1 + number / 1000)


def _age(path: Path, days: float) -> None:
    then = time.time() - days * SECONDS_AGO
    os.utime(path, (then, then))


def _content(folder: Path, cache: Path | str, *, verify: bool = False) -> list[object]:
    """What a start finds: names, what is in their files, and what is wrong."""
    data = TextToSignDataset(folder, **SIZE, cache_dir=cache, verify=verify)
    return [data.names, [data.content(index) for index in range(len(data))], data.problems]
