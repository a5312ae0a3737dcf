"""Between tensors in [-1, 1] and uint8 files; frame folding. Imports config and third-party packages only.

Clips on disk are GIFs. Pillow's own animated writer merges identical frames and shares one poor palette, so the writer
here encodes every frame by itself and joins the pieces; what was written comes back with the frames it had.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from utils.gif import VideoError, check_extent, palette_bytes, read_bytes, scan, skip_sub_blocks, sub_blocks

MAX_FPS = 50  # players show frames shorter than 20 ms at 100 ms
SHEET_COLUMNS = 13  # of a contact sheet before it wraps into bands
DAMAGED = (OSError, EOFError, SyntaxError, ValueError, IndexError, struct.error)  # what Pillow raises on a bad file


def frames_to_batch(video: Tensor) -> Tensor:
    """(B, C, F, H, W) -> (B * F, C, H, W), the frames of one clip side by side."""
    b, c, f, h, w = video.shape
    return video.transpose(1, 2).reshape(b * f, c, h, w)


def batch_to_frames(frames: Tensor, num_frames: int) -> Tensor:
    """(B * F, C, H, W) -> (B, C, F, H, W), the inverse of ``frames_to_batch``."""
    bf, c, h, w = frames.shape
    return frames.reshape(bf // num_frames, num_frames, c, h, w).transpose(1, 2)


def to_uint8(video: Tensor) -> np.ndarray:
    """(3, F, H, W) floating point in [-1, 1] -> (F, H, W, 3) uint8; values outside are clamped.

    Raises:
        VideoError: another shape, or NaN or infinity anywhere.
    """
    if video.ndim != 4 or video.shape[0] != 3:
        raise VideoError(f"A clip of shape {tuple(video.shape)} cannot become pixels; wanted (3, F, H, W).")
    bad = int((~torch.isfinite(video)).sum())
    if bad:
        raise VideoError(f"{bad} of {video.numel()} values of a clip are NaN or infinite; wanted numbers in [-1, 1].")
    levels = (video.detach().float().clamp(-1.0, 1.0) + 1.0) * 127.5
    return levels.round().to(torch.uint8).permute(1, 2, 3, 0).contiguous().cpu().numpy()


def from_uint8(frames: np.ndarray) -> Tensor:
    """(F, H, W, 3) uint8 -> (3, F, H, W) float32 in [-1, 1], the inverse of ``to_uint8``.

    Raises:
        VideoError: another shape or type.
    """
    return batch_from_uint8([frames])[0]


def batch_from_uint8(clips: list[np.ndarray]) -> Tensor:
    """B clips of one shape (F, H, W, 3) uint8 -> (B, 3, F, H, W) float32, each as ``from_uint8`` makes it.

    Raises:
        VideoError: another shape or type, or no clip at all.
    """
    if len({frames.shape for frames in clips}) != 1:
        raise VideoError(f"{len(clips)} clips cannot become a batch; wanted one or more of one shape.")
    for frames in clips:
        _check_frames(frames)
    f, h, w, c = clips[0].shape
    pixels = np.empty((len(clips), c, f, h, w), dtype=np.uint8)  # turned before they grow to four bytes each
    for row, frames in zip(pixels, clips, strict=True):
        row[...] = frames.transpose(3, 0, 1, 2)
    return torch.from_numpy(pixels).float().div_(127.5).sub_(1.0)


def frame_indices(num_source: int, num_frames: int) -> np.ndarray:
    """(num_frames,) int64: the source frames at the centres of ``num_frames`` equal intervals of the clip.

    A source that is shorter repeats its frames evenly.

    Raises:
        VideoError: either number is below 1.
    """
    if num_source < 1 or num_frames < 1:
        raise VideoError(f"Cannot take {num_frames} frames from a clip of {num_source}; wanted at least 1 of each.")
    return (2 * np.arange(num_frames, dtype=np.int64) + 1) * num_source // (2 * num_frames)


def resize_and_crop(frames: np.ndarray, size: int) -> np.ndarray:
    """(F, H, W, 3) uint8 -> (F, size, size, 3) uint8: shorter side to ``size`` px, centre of the longer one.

    Antialiased Lanczos downwards, bicubic upwards; frames of that size already come back unchanged.

    Raises:
        VideoError: another shape or type.
    """
    _check_frames(frames)
    _, height, width, _ = frames.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = frames[:, top : top + side, left : left + side]
    if side == size:
        return np.ascontiguousarray(square)
    kernel = Image.Resampling.LANCZOS if side > size else Image.Resampling.BICUBIC
    return np.stack([np.asarray(Image.fromarray(np.ascontiguousarray(f)).resize((size, size), kernel)) for f in square])


def fit_clip(frames: np.ndarray, *, num_frames: int, image_size: int) -> np.ndarray:
    """(F, H, W, 3) uint8 of any size -> the clip that is trained on: ``frame_indices``, then ``resize_and_crop``.

    The result is (num_frames, image_size, image_size, 3) uint8.

    Raises:
        VideoError: as these two.
    """
    return resize_and_crop(frames[frame_indices(len(frames), num_frames)], image_size)


def _check_frames(frames: np.ndarray) -> None:
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise VideoError(f"Frames are {frames.dtype} of shape {frames.shape}; wanted uint8 (F, H, W, 3), none empty.")


def write_gif(path: Path, frames: np.ndarray, *, fps: int, comment: str = "") -> None:
    """``encode_gif`` into a file that appears whole or not at all.

    Raises:
        VideoError: as ``encode_gif``, or a disk that refuses.
    """
    write_atomically(path, encode_gif(frames, fps=fps, comment=comment))


def encode_gif(frames: np.ndarray, *, fps: int, comment: str = "") -> bytes:
    """(F, H, W, 3) uint8 -> a GIF of exactly F opaque frames that loops for ever; the same bytes every time.

    Each frame has a palette of its own: exact up to 256 colours, fitted beyond. Delays lie on the format's 10 ms grid,
    their sum within 5 ms of F / fps seconds.

    Raises:
        VideoError: other frames, ``fps`` outside 1-50, or a side above 4,096 px.
    """
    _check_frames(frames)
    num_frames, height, width = frames.shape[:3]
    if not 1 <= fps <= MAX_FPS:
        raise VideoError(f"The clip asks for {fps} frames per second; wanted 1 to {MAX_FPS}.")
    check_extent("The clip", num_frames, height, width)
    parts = [b"GIF89a", struct.pack("<HHBBB", width, height, 0x70, 0, 0), b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"]
    if comment:
        parts.append(b"\x21\xfe" + sub_blocks(comment.encode("utf-8")))
    for frame, delay in zip(frames, frame_delays(num_frames, fps=fps), strict=True):
        control = struct.pack("<BBBBHBB", 0x21, 0xF9, 4, 0x04, delay // 10, 0, 0)  # keep, nothing transparent
        parts.append(control + _encode_frame(frame))
    return b"".join(parts) + b"\x3b"


def frame_delays(num_frames: int, *, fps: int) -> list[int]:
    """Milliseconds of each frame, multiples of 10 whose running sum stays within 5 ms of the true time."""
    ends = [(200 * i + fps - 1) // (2 * fps) for i in range(num_frames + 1)]  # 10 ms, to the nearest, halves down
    return [10 * (end - start) for start, end in zip(ends, ends[1:], strict=False)]


def read_gif(path: Path) -> tuple[np.ndarray, list[int]]:
    """``decode_gif`` of a file.

    Raises:
        VideoError: as ``decode_gif``, or the file cannot be read.
    """
    return decode_gif(path, read_bytes(path))


def decode_gif(path: Path, data: bytes) -> tuple[np.ndarray, list[int]]:
    """(F, H, W, 3) uint8 as a player shows the frames, over white, and the delay of each in ms (0 if none is given).

    ``data`` is what the file at ``path`` holds; errors name the path.

    Raises:
        VideoError: not a GIF, empty, cut short, damaged, or too large to be opened safely.
    """
    outline = scan(path, data)
    width, height, delays = outline.width, outline.height, outline.delays
    check_extent(path, len(delays), height, width)
    frames = np.empty((len(delays), height, width, 3), dtype=np.uint8)
    white = Image.new("RGBA", (width, height), (255, 255, 255, 255))
    index = 0
    try:
        with Image.open(io.BytesIO(data), formats=["GIF"]) as image:
            for index in range(len(frames)):
                image.seek(index)
                layer = image.convert("RGBA").crop((0, 0, width, height))
                frames[index] = np.asarray(Image.alpha_composite(white, layer))[..., :3]
    except DAMAGED as error:
        found = f"frame {index + 1} of {len(frames)} cannot be decoded ({error})"
        raise VideoError(f"{path}: {found}; wanted a whole GIF.") from error
    return frames, delays


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file, and the folders above it, so that it appears whole or not at all.

    Raises:
        VideoError: the disk refuses.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # the same folder, so that replacing is one step
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise VideoError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):  # never there, since its folder is none or its name too long
            temporary.unlink(missing_ok=True)


def _encode_frame(frame: np.ndarray) -> bytes:
    """(H, W, 3) uint8 -> image descriptor, local palette and LZW data of one opaque frame.

    Pillow compresses it as a GIF of one frame; its blocks are taken over, with the palette moved into the frame.
    """
    buffer = io.BytesIO()
    _index_colours(frame).save(buffer, format="GIF", optimize=False, interlace=False)
    data = buffer.getvalue()
    palette_end = 13 + palette_bytes(data[10])
    at = palette_end
    while data[at] == 0x21:
        at = skip_sub_blocks(data, at + 2)
    flags = 0x80 | (data[10] & 0x07)
    pixels = data[at + 10 : skip_sub_blocks(data, at + 11)]
    return data[at : at + 9] + bytes([flags]) + data[13:palette_end] + pixels


def _index_colours(frame: np.ndarray) -> Image.Image:
    """(H, W, 3) uint8 -> palette image: exact up to 256 colours, else median cut refined by k-means, not dithered."""
    packed = (frame.astype(np.uint32) << np.array([16, 8, 0], dtype=np.uint32)).sum(axis=2, dtype=np.uint32)
    colours, index = np.unique(packed, return_inverse=True)
    if len(colours) > 256:
        return Image.fromarray(np.ascontiguousarray(frame)).quantize(256, Image.Quantize.MEDIANCUT, kmeans=4)
    image = Image.fromarray(index.reshape(packed.shape).astype(np.uint8))
    image.putpalette(np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1).astype(np.uint8).tobytes())
    return image


def contact_sheet(
    rows: list[tuple[str, list[np.ndarray]]],
    columns: list[str],
    *,
    scale: int = 2,
    strip: tuple[int, ...] | None = None,
) -> Image.Image:
    """One picture of many clips: a row per (label, one (F, H, W, 3) uint8 clip per column), titles above, labels left.

    A cell shows the clip's middle frame F // 2, or the frames of ``strip`` side by side, ``scale`` times as large.
    More than 13 frames across wrap into bands of equal width, each with its titles and all rows.

    Raises:
        VideoError: no clip at all, or a row with more or fewer clips than columns.
    """
    for label, clips in rows:
        if len(clips) != len(columns):
            raise VideoError(f"Row {label!r} has {len(clips)} clips for {len(columns)} columns; wanted one each.")
    if not rows or not columns:
        raise VideoError("A contact sheet needs at least one row and one column.")
    cells = [[_cell(clip, scale=scale, strip=strip) for clip in clips] for _, clips in rows]
    num_bands = -(-len(columns) // max(1, SHEET_COLUMNS // len(strip or (0,))))
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


def _cell(clip: np.ndarray, *, scale: int, strip: tuple[int, ...] | None) -> Image.Image:
    _check_frames(clip)
    picture = np.concatenate([clip[i] for i in (strip or (len(clip) // 2,))], axis=1)
    return Image.fromarray(picture.repeat(scale, axis=0).repeat(scale, axis=1))


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
