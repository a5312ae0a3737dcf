"""utils/reading/whole.py: a file that was cut anywhere is no clip, whatever a decoder would still make of it."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.reading.films import film
from utils.layouts.listing import Row
from utils.reading.reader import read_clip
from utils.reading.whole import check_whole
from utils.video import VideoError


def noise(path: Path) -> Path:
    """An animation whose frames take most of its bytes."""
    random = np.random.RandomState(0)
    frames = [Image.fromarray(random.randint(0, 255, (24, 32, 3), dtype=np.uint8)) for _ in range(6)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    return path


FILES = {
    "a.mp4": lambda path: film(path, gop=4),
    "first.mp4": lambda path: film(path, gop=4, options={"movflags": "faststart"}),
    "a.mov": lambda path: film(path, codec="mpeg4"),
    "a.mkv": film,
    "a.webm": lambda path: film(path, codec="libvpx-vp9"),
    "a.avi": lambda path: film(path, codec="mpeg4"),
    "a.gif": noise,
    "a.webp": noise,
    "a.png": noise,
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_anywhere_is_refused_and_a_whole_one_is_read(name: str, tmp_path: Path) -> None:
    path = FILES[name](tmp_path / name)
    data, row = path.read_bytes(), Row(path, "x", "x")
    assert len(read_clip(row, num_frames=2, image_size=16).frames) == 2
    for share in (0.05, 0.3, 0.5, 0.7, 0.9, 0.99):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(VideoError, match="cut short|is it whole"):
            read_clip(row, num_frames=2, image_size=16)


def stated(data: bytes) -> str:
    try:
        check_whole(Path("a"), io.BytesIO(data))
    except VideoError as error:
        return str(error)
    return "whole"


def box(kind: bytes, size: int, large: int | None = None) -> bytes:
    return struct.pack(">I4s", size, kind) + (b"" if large is None else struct.pack(">Q", large))


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (box(b"ftyp", 8) + box(b"mdat", 0) + b"x" * 9, "whole"),  # to the end of the file
        (box(b"ftyp", 8) + box(b"mdat", 1, 24) + b"x" * 8, "whole"),
        (box(b"ftyp", 8) + box(b"mdat", 1, 25) + b"x" * 8, "cut short after 32 of at least 33 bytes"),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01" + b"\xff" * 7 + b"x" * 9, "whole"),  # of unknown length: live
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x82x", "cut short after 11 of at least 12 bytes"),
        (b"\x1a\x45\xdf\xa3", "whole"),  # which says nothing, and is refused by the decoder
        (b"RIFF\x04\0\0\0AVI ", "whole"),
        (b"", "whole"),
    ],
)  # fmt: skip
def test_what_a_file_states_of_its_length_is_believed(data: bytes, found: str) -> None:
    assert found in stated(data)


def test_a_header_that_states_more_than_any_disk_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.webm"
    path.write_bytes(b"\x1a\x45\xdf\xa3\x01" + b"\xff" * 6 + b"\xf0" + bytes(64))
    with path.open("rb") as file, pytest.raises(VideoError, match="cut short after 76 of at least"):
        check_whole(path, file)
