"""Film and clip files that benchmarks make for themselves, and what PyAV alone takes to decode them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from utils.gif import encode_gif

WIDTH, HEIGHT, RATE = 1280, 720, 25
TINY = 8  # px
SECONDS_AGO = 86400  # of a file's last change, so that its clock has ticked since


def moving_picture(number: int, num_frames: int) -> Iterator[np.ndarray]:
    """(HEIGHT, WIDTH, 3) uint8 frames: camera grain over a shaded wall, before which a lit disc moves about."""
    draw = np.random.default_rng(number)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    wall = (x / 12 + y / 9)[..., None] * draw.uniform(0.3, 1, 3).astype(np.float32)
    grain = draw.normal(0, 4, (HEIGHT, 2 * WIDTH, 1)).astype(np.float32)
    turns, phase = draw.uniform(1, 3, 2), draw.uniform(0, 6, 2)
    for frame in range(num_frames):
        angle = 2 * np.pi * turns * frame / num_frames + phase
        at = (HEIGHT / 2 + 180 * np.sin(angle[0]), WIDTH / 2 + 300 * np.cos(angle[1]))
        shift = draw.integers(WIDTH)
        light = np.clip(120 - np.hypot(y - at[0], x - at[1]), 0, 100)[..., None]
        yield np.clip(wall + light * 1.5 + grain[:, shift : shift + WIDTH], 0, 255).astype(np.uint8)


def write_films(folder: Path, num_films: int, *, num_frames: int) -> None:
    """``num_films`` pairs of MP4 (H.264, 720p, a key frame every 250) and text, as a phone or a data set has them."""
    folder.mkdir(parents=True)
    for number in range(num_films):
        with av.open(str(folder / f"{number:03d}.mp4"), "w") as file:
            stream = file.add_stream("libx264", RATE, options={"preset": "veryfast", "crf": "23"})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for pixels in moving_picture(number, num_frames):
                file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            file.mux(stream.encode())
        (folder / f"{number:03d}.txt").write_text(f"sign {number}")


def tiny_gif(number: int) -> bytes:
    """Two frames of TINY px, which no other number below 2**24 - 1 has; the bytes are as many for each."""
    frames = np.full((2, TINY, TINY, 3), 255, dtype=np.uint8)
    frames[0, 0, 0] = frames[1, 1, 1] = list(number.to_bytes(3, "little"))
    return encode_gif(frames, 8)[0]


def decoded(path: Path, indices: list[int], side: int) -> list[np.ndarray]:
    """What PyAV alone gives: one thread, frames decoded up to the last of ``indices`` (rising), those scaled in RGB.

    A frame is (h, w, 3) uint8, its shorter side at ``side`` px.
    """
    found = []
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        stream.thread_count = 1
        scale = side / min(stream.width, stream.height)
        size = {"width": round(stream.width * scale), "height": round(stream.height * scale)}
        for index, frame in enumerate(file.decode(stream)):
            if index in indices:
                found.append(frame.reformat(**size, format="rgb24", interpolation="AREA").to_ndarray())
            if index >= indices[-1]:
                break
    return found
