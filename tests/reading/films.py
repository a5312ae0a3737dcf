"""Small video files for tests, written with PyAV: frame i is grey of level 20 + 10 i, so that a reader can be asked
which frames it took."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

ROTATIONS = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}  # of a track's matrix


def grey(index: int, *, width: int = 64, height: int = 48) -> np.ndarray:
    """(height, width, 3) uint8; the upper left quarter is darker, so that a turn shows."""
    frame = np.full((height, width, 3), 20 + 10 * (index % 24), dtype=np.uint8)
    frame[: height // 2, : width // 2] //= 2
    return frame


def film(
    path: Path,
    num_frames: int = 12,
    *,
    rate: int = 10,
    codec: str = "libx264",
    base: int = 1000,
    pixels: str = "yuv420p",
    size: tuple[int, int] = (64, 48),
    ticks: list[int] | None = None,
    gop: int = 250,
    aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
    trc: int | None = None,
) -> Path:
    """Write ``path``; ``ticks``: of each frame, where they are not evenly spaced, ``base`` a second."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.codec_context.gop_size = gop
        stream.codec_context.time_base = stream.time_base = Fraction(1, base)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if trc:
            stream.codec_context.color_trc = trc
        if codec.startswith("libx264"):
            stream.options = {"preset": "ultrafast", "bf": "0", "crf": "10"}
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(grey(index, width=size[0], height=size[1]), format="rgb24")
            frame.pts, frame.time_base = ticks[index] if ticks else index * base // rate, Fraction(1, base)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def write_film(path: Path, frames: np.ndarray, *, rate: int = 10) -> Path:
    """(F, h, w, 3) uint8 as H.264 that loses next to nothing."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv444p"
        stream.options = {"preset": "ultrafast", "crf": "4"}
        for frame in [*(av.VideoFrame.from_ndarray(pixels, format="rgb24") for pixels in frames), None]:
            for packet in stream.encode(frame):
                container.mux(packet)
    return path


def turn(path: Path, degrees: int) -> Path:
    """Ask players of the MP4 ``path`` to turn it clockwise: the matrix of its track header (ISO 14496-12, 8.3.2)."""
    data, at = bytearray(path.read_bytes()), path.read_bytes().index(b"tkhd") + 44
    a, b, c, d = ROTATIONS[degrees]
    one = 0x10000
    data[at : at + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 0x40000000)
    path.write_bytes(data)
    return path


def numbers(frames: np.ndarray) -> list[int]:
    """Which frames of a film these (F, h, w, 3) uint8 are, by their lower right corner."""
    h, w = frames.shape[1:3]
    levels = frames[:, h // 2 + 4 : h - 4, w // 2 + 4 : w - 4].mean((1, 2, 3))
    return [round((level - 20) / 10) for level in levels]
