"""One picture of many clips: rows of labelled cells, for eyes."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from utils.video import check_frames

SHEET_COLUMNS = 13  # before it wraps into bands


def contact_sheet(rows: list[tuple[str, list[np.ndarray]]], columns: list[str], *, side: int = 128) -> Image.Image:
    """One picture of many clips: a row per (label, one (F, H, W, 3) uint8 clip per column), titles above, labels left.

    A cell shows the clip's middle frame F // 2, enlarged by a whole number until it is ``side`` px high at least.
    More than 13 cells across wrap into bands of equal width, each with its titles and all rows.
    """
    assert rows and columns and all(len(clips) == len(columns) for _, clips in rows)
    cells = [[_cell(clip, side) for clip in clips] for _, clips in rows]
    num_bands = -(-len(columns) // SHEET_COLUMNS)
    per_band = -(-len(columns) // num_bands)
    labels = [label for label, _ in rows]
    bands = [
        _band(labels, [row[start : start + per_band] for row in cells], columns[start : start + per_band])
        for start in range(0, len(columns), per_band)
    ]
    sheet = Image.new("RGB", (max(band.width for band in bands), sum(band.height for band in bands)), "white")
    for index, band in enumerate(bands):
        sheet.paste(band, (0, sum(earlier.height for earlier in bands[:index])))
    return sheet


def _cell(clip: np.ndarray, side: int) -> Image.Image:
    check_frames(clip)
    scale = max(1, -(-side // clip.shape[1]))
    return Image.fromarray(clip[len(clip) // 2].repeat(scale, axis=0).repeat(scale, axis=1))


def _band(labels: list[str], cells: list[list[Image.Image]], titles: list[str], *, gap: int = 4) -> Image.Image:
    """Titles, then one line of cells per label, ``gap`` px between everything."""
    width, height = max(c.width for row in cells for c in row), max(c.height for row in cells for c in row)
    font = ImageFont.load_default(size=min(24, max(12, height // 6)))
    line = int(sum(font.getmetrics())) + gap
    left = max(int(font.getlength(label)) for label in labels) + 2 * gap
    band = Image.new("RGB", (left + len(titles) * (width + gap), line + len(cells) * (height + gap) + gap), "white")
    draw = ImageDraw.Draw(band)
    for j, title in enumerate(titles):
        middle = left + j * (width + gap) + width / 2
        draw.text((middle, gap / 2), _shorten(title, font, width), fill="black", font=font, anchor="ma")
    for i, (label, row) in enumerate(zip(labels, cells, strict=True)):
        top = line + i * (height + gap)
        draw.text((gap, top + height / 2), label, fill="black", font=font, anchor="lm")
        for j, cell in enumerate(row):
            band.paste(cell, (left + j * (width + gap), top))
    return band


def _shorten(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """``text``, or as much of it as fits ``width`` px with three dots behind it."""
    fitting = (text[:end] + "..." for end in range(len(text), 0, -1))
    return next((t for t in (text, *fitting) if font.getlength(t) <= width), "")
