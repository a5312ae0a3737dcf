"""Whether a file is all there, by the lengths that it states itself; decoders take a missing tail for the clip's end.

Known of MP4 and MOV (ISO 14496-12, 4.2), MKV and WebM (RFC 8794, 4 and RFC 9559, 5.1), AVI and WebP (RIFF), and PNG.
MPEG programs state none. The end of a GIF is found by ``utils.gif.scan``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from utils.video import VideoError

BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"pnot")  # that an MP4 or MOV begins with
EBML, PNG = b"\x1a\x45\xdf\xa3", b"\x89PNG\r\n\x1a\n"


def check_whole(path: Path, file: BinaryIO) -> None:
    """``file``, open at its start, is left there.

    Raises:
        VideoError: it states more bytes than it has.
    """
    head = file.read(12)
    num_bytes = file.seek(0, 2)
    stated = 0
    if head[4:8] in BOXES:
        stated = _end_of_chain(file, 0, num_bytes, _box)
    elif head[:8] == PNG:
        stated = _end_of_chain(file, 8, num_bytes, _png_chunk)
    elif head[:4] == EBML:
        header = _end_of_element(file, 0)
        stated = header if header > num_bytes else _end_of_element(file, header)  # no disk can seek to just anywhere
    elif head[:4] == b"RIFF":
        stated = 8 + int.from_bytes(head[4:8], "little")
    file.seek(0)
    if stated > num_bytes:
        raise VideoError(f"{path}: cut short after {num_bytes:,} of at least {stated:,} bytes; wanted the whole file")


def _end_of_chain(file: BinaryIO, at: int, num_bytes: int, length: Callable[[bytes], int]) -> int:
    """Where the last of the chunks that stand one behind the other from ``at`` on ends."""
    while at < num_bytes:
        file.seek(at)
        if (step := length(file.read(16))) == 0:  # to the file's end, wherever that is
            return num_bytes
        at += step
    return at


def _box(head: bytes) -> int:
    size = int.from_bytes(head[:4], "big")
    return max(16, int.from_bytes(head[8:], "big")) if size == 1 else size and max(8, size)


def _png_chunk(head: bytes) -> int:
    return 0 if head[4:8] == b"IEND" else 12 + int.from_bytes(head[:4], "big")


def _end_of_element(file: BinaryIO, at: int) -> int:
    """Of the EBML element that begins at ``at``; ``at`` itself where its size is not stated."""
    file.seek(at + 4)  # EBML and Segment have identifiers of 4 bytes
    first = file.read(1)
    if not first or not first[0]:
        return at
    width = 9 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0xFF >> width)]) + file.read(width - 1), "big")
    return at if value == 2 ** (7 * width) - 1 else at + 4 + width + value
