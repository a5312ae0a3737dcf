"""What an evaluation leaves in its folder: evaluation.json, report.html, contact sheets and the generated clips."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from PIL import Image

from methods.evaluation.page import ClipPair, write_html
from utils.captions import short_titles
from utils.contact_sheet import contact_sheet
from utils.files import write_file

PATTERNS = ("contact_sheet_*.png", "generated/*/*_*.gif")  # of files whose names depend on the clips


def write_evaluation(
    folder: Path, report: Mapping[str, object], pairs: list[ClipPair], *, fps: int, command: str | None
) -> None:
    """Writes everything; ``pairs`` hold every generated clip, ``command`` is what the page says made it.

    Raises:
        FileError: the disk refuses.
    """
    parts = {part: [pair for pair in pairs if pair.part == part] for part in dict.fromkeys(pair.part for pair in pairs)}
    sheets = {f"contact_sheet_{part}.png": _sheet(own) for part, own in parts.items()}
    clips = {
        f"generated/{part}/{which:03d}_{copy}.gif": clip
        for part, own in parts.items()
        for which, pair in enumerate(own)
        for copy, clip in enumerate(pair.generated)
    }
    (folder / "evaluation.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    write_html(folder / "report.html", report, pairs, fps=fps, command=command)
    for old in (path for pattern in PATTERNS for path in folder.glob(pattern)):
        old.unlink()
    for name, sheet in sheets.items():
        write_file(folder / name, partial(sheet.save, format="PNG"))
    for name, clip in clips.items():
        clip.write(folder / name)


def _sheet(pairs: list[ClipPair]) -> Image.Image:
    """The first generated clip of each caption below the real one."""
    rows = [("real", [pair.real[0] for pair in pairs]), ("generated", [pair.generated[0].frames for pair in pairs])]
    return contact_sheet(rows, short_titles([pair.caption for pair in pairs]))
