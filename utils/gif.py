"""The blocks that a GIF file consists of, walked without decoding a pixel; ``utils/video.py`` reads and writes GIFs."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from config import UserError

MAX_SIDE = 4096  # px, of a clip that is read
MAX_FRAMES = 10_000
MAX_PIXELS = 2**28  # of all frames together: 0.8 GB as RGB


class VideoError(UserError):
    """A clip that cannot be read, written or converted."""


def read_bytes(path: Path) -> bytes:
    """Raises:
    VideoError: the file cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise VideoError(f"{path} cannot be read: {error.strerror or error}; wanted a GIF file.") from error


def read_comment(path: Path) -> str:
    """The first comment of a GIF, of any length; empty without one.

    Bytes that are no UTF-8 become lone surrogates, which no text holds.

    Raises:
        VideoError: as ``scan``, or the file cannot be read.
    """
    return scan(path, read_bytes(path)).comment.decode("utf-8", "surrogateescape")


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
                if data[at + 1] == 0xF9:
                    delay = 10 * struct.unpack_from("<H", data, at + 4)[0]
                if data[at + 1] == 0xFE:
                    comments.append(join_sub_blocks(data, at + 2))
                at = skip_sub_blocks(data, at + 2)
            elif kind == 0x2C:
                delays.append(delay)
                delay = 0
                left, top, frame_width, frame_height, flags = struct.unpack_from("<HHHHB", data, at + 1)
                check_extent(path, len(delays), top + frame_height, left + frame_width)
                at = skip_sub_blocks(data, at + 11 + palette_bytes(flags))
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
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE) or num_frames > MAX_FRAMES:
        raise VideoError(
            f"{path} is {width}x{height} px with {num_frames} frames; "
            f"wanted sides of 1 to {MAX_SIDE} px and at most {MAX_FRAMES} frames."
        )
    if num_frames * height * width > MAX_PIXELS:
        raise VideoError(
            f"{path} holds {num_frames} frames of {width}x{height}, {num_frames * height * width} px in all; "
            f"wanted at most {MAX_PIXELS}. Make it smaller or shorter."
        )


def palette_bytes(flags: int) -> int:
    """Length of the palette that a screen's or frame's ``flags`` announce."""
    return 3 << ((flags & 0x07) + 1) if flags & 0x80 else 0


def skip_sub_blocks(data: bytes, at: int) -> int:
    """Offset behind the chain of length-prefixed sub-blocks that starts at ``at``."""
    while data[at]:
        at += data[at] + 1
    return at + 1


def join_sub_blocks(data: bytes, at: int) -> bytes:
    """The inverse of ``sub_blocks``, for the chain that starts at ``at``."""
    parts = []
    while data[at]:
        parts.append(data[at + 1 : at + 1 + data[at]])
        at += data[at] + 1
    return b"".join(parts)


def sub_blocks(data: bytes) -> bytes:
    """``data`` of any length as a chain of length-prefixed sub-blocks of at most 255 bytes, with its end."""
    chunks = [data[i : i + 255] for i in range(0, len(data), 255)]
    return b"".join(bytes([len(chunk)]) + chunk for chunk in chunks) + b"\0"
