"""GIF files: writing them, and what stands in them beside the pixels; ``utils/reading/stills.py`` reads these.

Pillow's own animated writer merges identical frames and shares one poor palette, so here it encodes every frame by
itself, and the pieces are joined; what was written comes back with the frames it had.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.GifImagePlugin import getdata

from config import MAX_SIDE
from utils.video import VideoError

MAX_FRAMES = 10_000
MAX_PIXELS = 2**28  # of all frames together: 0.8 GB as RGB
MAX_FPS = 50  # players show frames shorter than 20 ms at 100 ms
DAMAGED = (  # what Pillow raises on a bad file
    OSError, EOFError, SyntaxError, ValueError, IndexError, struct.error, Image.DecompressionBombError,
)  # fmt: skip


# ---- Reading --------------------------------------------------------------------------------------------------------


def read_comment(path: Path) -> str:
    """The first comment of a GIF, of any length; empty without one.

    Bytes that are no UTF-8 become lone surrogates, which no text holds.

    Raises:
        VideoError: as ``scan``, or the file cannot be read.
    """
    return scan(path, read_bytes(path)).comment.decode("utf-8", "surrogateescape")


def read_bytes(path: Path, *, most: int = -1) -> bytes:
    """All of a file, or its first ``most`` bytes.

    Raises:
        VideoError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read(most)
    except OSError as error:
        raise VideoError(f"{path} cannot be read: {error.strerror or error}; wanted a clip.") from error


# ---- Writing --------------------------------------------------------------------------------------------------------


def encode_gif(frames: np.ndarray, fps: float, comment: str = "") -> list[bytes]:
    """(F, H, W, 3) uint8 -> a GIF of exactly F opaque frames that loops for ever; the same bytes every time.

    Each frame has a palette of its own: exact up to 256 colours, fitted beyond. Delays lie on the format's 10 ms grid,
    their sum within 5 ms of F / fps seconds.
    """
    num_frames, height, width = frames.shape[:3]
    parts = [b"GIF89a", struct.pack("<HHBBB", width, height, 0x70, 0, 0), b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"]
    if comment:
        parts.append(b"\x21\xfe" + sub_blocks(comment.encode("utf-8")))
    for frame, delay in zip(frames, frame_delays(num_frames, fps=fps), strict=True):
        parts += getdata(_index_colours(frame), duration=delay, disposal=1, include_color_table=True)  # 1: stays
    return [b"".join(parts) + b"\x3b"]


def frame_delays(num_frames: int, *, fps: float) -> list[int]:
    """Milliseconds of each frame, multiples of 10 whose running sum stays within 5 ms of the true time."""
    ends = [math.ceil(100 * i / fps - 0.5) for i in range(num_frames + 1)]  # 10 ms, to the nearest, halves down
    return [10 * (end - start) for start, end in zip(ends, ends[1:], strict=False)]


def _index_colours(frame: np.ndarray) -> Image.Image:
    """(H, W, 3) uint8 -> palette image: exact up to 256 colours, else those that cover most, not dithered."""
    packed = (frame.astype(np.uint32) << np.array([16, 8, 0], dtype=np.uint32)).sum(axis=2, dtype=np.uint32)
    colours, index = np.unique(packed, return_inverse=True)
    if len(colours) > 256:
        return Image.fromarray(np.ascontiguousarray(frame)).quantize(256, Image.Quantize.MAXCOVERAGE)
    image = Image.fromarray(index.reshape(packed.shape).astype(np.uint8))
    image.putpalette(np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1).astype(np.uint8).tobytes())
    return image


# ---- Blocks ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scan:
    """What stands in a GIF beside its pixels: px, ms of each frame, bytes of the first comment."""

    width: int
    height: int
    delays: list[int]
    comment: bytes


def scan(path: Path, data: bytes) -> Scan:
    """The outline of a GIF, from walking the blocks up to the trailer without decoding.

    A file that was cut anywhere is found out here; Pillow takes a missing tail for the end of the clip.

    Raises:
        VideoError: empty, no GIF, cut short, damaged, without a frame, or with one too large.
    """
    if not data:
        raise VideoError(f"{path} is empty (0 bytes); wanted a GIF.")
    if data[:6] not in (b"GIF87a", b"GIF89a"):
        raise VideoError(f"{path} begins with {data[:6]!r}; wanted a GIF, which begins with 'GIF89a'.")
    delays: list[int] = []
    delay = 0
    comments: list[bytes] = []
    try:
        width, height, flags = struct.unpack_from("<HHB", data, 6)
        at = 13 + palette_bytes(flags)
        while (kind := data[at]) != 0x3B:
            if kind == 0x21:
                label, (content, at) = data[at + 1], read_sub_blocks(data, at + 2)
                if label == 0xF9:
                    delay = 10 * struct.unpack_from("<H", content, 1)[0]
                if label == 0xFE:
                    comments.append(content)
            elif kind == 0x2C:
                delays.append(delay)
                delay = 0
                left, top, frame_width, frame_height, flags = struct.unpack_from("<HHHHB", data, at + 1)
                check_extent(path, 1, top + frame_height, left + frame_width)
                at = read_sub_blocks(data, at + 11 + palette_bytes(flags))[1]
            elif kind == 0:
                at += 1  # stray padding between blocks, which every player skips
            else:
                raise VideoError(f"{path} is damaged: byte {at} is 0x{kind:02x}; wanted a GIF block's first byte.")
    except (IndexError, struct.error):
        found = f"was cut short after {len(data)} bytes, in or behind frame {len(delays)}"
        raise VideoError(f"{path} {found}; wanted a whole GIF.") from None
    if not delays:
        raise VideoError(f"{path} is a GIF without any frame; wanted at least one.")
    return Scan(width, height, delays, comments[0] if comments else b"")


def check_extent(path: Path | str, num_frames: int, height: int, width: int) -> None:
    """Raises:
    VideoError: sides in px, frames or all pixels together are more than is safe to open.
    """
    sides_fit = 0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE
    if not sides_fit or num_frames > MAX_FRAMES or num_frames * height * width > MAX_PIXELS:
        raise VideoError(
            f"{path} is {width}x{height} px with {num_frames} frames, {num_frames * height * width} px in all; wanted "
            f"sides of 1 to {MAX_SIDE} px, at most {MAX_FRAMES} frames, and {MAX_PIXELS} px in all. Make it smaller."
        )


def palette_bytes(flags: int) -> int:
    """Length of the palette that a screen's or frame's ``flags`` announce."""
    return 3 << ((flags & 0x07) + 1) if flags & 0x80 else 0


def sub_blocks(data: bytes) -> bytes:
    """``data`` of any length as a chain of length-prefixed sub-blocks of at most 255 bytes, with its end."""
    chunks = [data[i : i + 255] for i in range(0, len(data), 255)]
    return b"".join(bytes([len(chunk)]) + chunk for chunk in chunks) + b"\0"


def read_sub_blocks(data: bytes, at: int) -> tuple[bytes, int]:
    """The inverse of ``sub_blocks``, for the chain that starts at ``at``, and the offset behind it."""
    parts = []
    while data[at]:
        parts.append(data[at + 1 : at + 1 + data[at]])
        at += data[at] + 1
    return b"".join(parts), at + 1
