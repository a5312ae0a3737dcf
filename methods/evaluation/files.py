"""What an evaluation leaves in its folder: report.html, contact sheets, the generated clips, and evaluation.json.

Where evaluation.json is, all of them are: it is the last to be written, and the first to go before the files of another
evaluation. Clips and sheets are listed in LIST, so that another evaluation removes those and nothing of anyone else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import attrgetter
from pathlib import Path

from PIL import Image

from methods.evaluation.page import ClipPair, render
from utils.captions import short_titles
from utils.contact_sheet import contact_sheet
from utils.files import FileError, write_file
from utils.writing import SUFFIXES

LIST = "written_files.txt"  # names of files whose names depend on the clips, a line each
PATTERNS = ("contact_sheet_*.png", *(f"generated/*/*_*{suffix}" for suffix in SUFFIXES))  # what LIST may name


def write_evaluation(folder: Path, report: Mapping[str, object], pairs: list[ClipPair], *, command: str | None) -> None:
    """Writes everything; ``pairs`` hold every generated clip, ``command`` is what the page says made it.

    Raises:
        FileError: the disk refuses.
    """
    parts = {part: [pair for pair in pairs if pair.part == part] for part in dict.fromkeys(pair.part for pair in pairs)}
    sheets = {f"contact_sheet_{part}.png": _sheet(own) for part, own in parts.items()}
    clips = {
        f"generated/{part}/{which:03d}_{copy}{clip.suffix}": clip
        for part, own in parts.items()
        for which, pair in enumerate(own)
        for copy, clip in enumerate(pair.generated)
    }
    with ThreadPoolExecutor() as pool:
        list(pool.map(attrgetter("parts"), clips.values()))  # once for page and file; Pillow fits palettes side by side
    _make_room(folder, [*sheets, *clips])
    write_file(folder / "report.html", render(report, pairs, command=command).encode())
    for name, sheet in sheets.items():
        write_file(folder / name, partial(sheet.save, format="PNG"))
    for name, clip in clips.items():
        clip.write(folder / name)
    write_file(folder / "evaluation.json", (json.dumps(report, indent=2) + "\n").encode())


def _make_room(folder: Path, names: list[str]) -> None:
    """Removes what an earlier evaluation wrote and lists ``names``, before any of them is there to be forgotten."""
    try:
        (folder / "evaluation.json").unlink(missing_ok=True)
        listed = folder / LIST
        earlier = set(listed.read_text(encoding="utf-8").splitlines()) if listed.exists() else set()
        there = {path.relative_to(folder).as_posix() for pattern in PATTERNS for path in folder.glob(pattern)}
        for name in there & earlier:
            (folder / name).unlink()
    except OSError as error:
        found = f"{folder} cannot be cleared of an earlier evaluation ({error})"
        raise FileError(f"{found}. Use another --output.") from error
    write_file(listed, "".join(f"{name}\n" for name in names).encode())


def _sheet(pairs: list[ClipPair]) -> Image.Image:
    """The first generated clip of each caption below the real one."""
    rows = [("real", [pair.real for pair in pairs]), ("generated", [pair.generated[0].frames for pair in pairs])]
    return contact_sheet(rows, short_titles([pair.caption for pair in pairs]))
