"""utils/gif.py: what is written comes back, and what is damaged is named."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.pictures import delays_of, gradient, noise
from utils import gif
from utils.files import FileError
from utils.reading.reader import read_frames
from utils.video import VideoError
from utils.writing import write_clip


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2)))


def test_sixteen_identical_frames_come_back_as_sixteen(tmp_path: Path):
    frames = np.repeat(gradient()[None], 16, axis=0)
    write_clip(tmp_path / "still.gif", frames, fps=8)
    assert read_frames(tmp_path / "still.gif").shape == (16, 64, 64, 3)
    with Image.open(tmp_path / "still.gif") as image:
        assert image.n_frames == 16 and image.info["loop"] == 0


@pytest.mark.parametrize("num_colours", [1, 2, 3, 17, 256])
def test_up_to_256_colours_a_frame_are_kept_exactly_and_each_frame_has_its_own(tmp_path: Path, num_colours: int):
    rng = np.random.default_rng(num_colours)
    frames = np.stack([noise(num_colours, 3, seed=i)[rng.integers(0, num_colours, (20, 31))] for i in range(5)])
    write_clip(tmp_path / "exact.gif", frames, fps=10)
    np.testing.assert_array_equal(read_frames(tmp_path / "exact.gif"), frames)


def test_smooth_colour_keeps_34_decibels(tmp_path: Path):
    frames = np.stack([gradient(), gradient()[::-1], gradient()[:, ::-1]])
    write_clip(tmp_path / "smooth.gif", frames, fps=8)
    back = read_frames(tmp_path / "smooth.gif")
    assert min(psnr(a, b) for a, b in zip(back, frames, strict=True)) > 34.0


@pytest.mark.parametrize("fps", range(1, 51))
def test_delays_lie_on_the_grid_and_add_up_to_the_true_length(fps: int):
    for num_frames in (1, 16, 101):
        delays = gif.frame_delays(num_frames, fps=fps)
        assert len(delays) == num_frames and all(d % 10 == 0 and d >= 20 for d in delays)
        assert abs(sum(delays) - 1000 * num_frames / fps) <= 5.0
        assert max(delays) - min(delays) <= 10


def test_delays_are_written_to_the_file(tmp_path: Path):
    write_clip(tmp_path / "clip.gif", noise(4, 8, 8, 3), fps=8)
    assert delays_of(tmp_path / "clip.gif") == [120, 130, 120, 130]


@pytest.mark.parametrize("comment", ["seed 42", "ä" * 400, "line one\nline two"])
def test_a_comment_of_any_length_comes_back_through_pillow(tmp_path: Path, comment: str):
    write_clip(tmp_path / "clip.gif", noise(2, 8, 8, 3), fps=8, comment=comment)
    with Image.open(tmp_path / "clip.gif") as image:
        assert image.info["comment"].decode("utf-8") == comment


def test_the_same_frames_give_the_same_bytes_and_no_temporary_file_stays(tmp_path: Path):
    frames = np.stack([gradient(), noise(64, 64, 3)])
    for name in ("a.gif", "deeper/b.gif", "a.gif"):
        write_clip(tmp_path / name, frames, fps=8, comment="x")
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "deeper/b.gif").read_bytes()
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.gif", "b.gif", "deeper"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    (tmp_path / "folder.gif").mkdir()
    with pytest.raises(FileError, match="cannot be written"):
        write_clip(tmp_path / "folder.gif", noise(2, 8, 8, 3), fps=8)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.gif"]


@pytest.mark.parametrize("fps", [0, -1, 51])
def test_frame_rates_that_players_cannot_show_are_refused(tmp_path: Path, fps: int):
    with pytest.raises(VideoError, match="wanted 1 to 50"):
        write_clip(tmp_path / "clip.gif", noise(2, 8, 8, 3), fps=fps)


def test_a_file_cut_anywhere_is_an_error_and_never_a_shorter_clip(tmp_path: Path):
    write_clip(tmp_path / "whole.gif", noise(5, 12, 12, 3), fps=8, comment="c")
    data = (tmp_path / "whole.gif").read_bytes()
    for length in {*range(0, 1000, 37), *range(0, len(data), 97), len(data) - 1}:
        (tmp_path / "cut.gif").write_bytes(data[:length])
        with pytest.raises(VideoError, match=r"cut\.gif"):
            read_frames(tmp_path / "cut.gif")


def test_pixels_that_end_early_inside_whole_blocks_are_an_error(tmp_path: Path):
    write_clip(tmp_path / "whole.gif", noise(1, 40, 40, 3), fps=8)
    data = (tmp_path / "whole.gif").read_bytes()
    start = data.index(b",") + 10 + 768 + 1
    (tmp_path / "short.gif").write_bytes(data[: start + data[start] + 1] + b"\0;")
    with pytest.raises(VideoError, match="frame 1 cannot be decoded"):
        read_frames(tmp_path / "short.gif")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "begins with"),
        (b"hello", "wanted a GIF"),
        (b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0) + b";", "without any frame"),
        (b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0) + b"\x77;", "0x77"),
    ],
)
def test_files_that_are_no_gif_are_named_in_one_line(tmp_path: Path, data: bytes, found: str):
    (tmp_path / "odd.gif").write_bytes(data)
    with pytest.raises(VideoError, match=found) as caught:
        gif.read_comment(tmp_path / "odd.gif")
    assert "odd.gif" in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(VideoError, match=r"none\.gif cannot be read"):
        gif.read_comment(tmp_path / "none.gif")


@pytest.mark.parametrize(
    ("canvas", "frame", "num_frames"),
    [
        ((4100, 300), (1, 1), 1),
        ((8, 8), (60_000, 8), 1),
        ((8, 8), (1, 1), 10_001),
        ((4096, 4096), (1, 1), 17),
    ],
)
def test_a_tiny_file_that_declares_a_huge_clip_is_refused_before_decoding(tmp_path: Path, canvas, frame, num_frames):
    (whole,) = gif.encode_gif(np.zeros((1, 1, 1, 3), dtype=np.uint8), 8)
    header = b"GIF89a" + struct.pack("<HHBBB", *canvas, 0, 0, 0)
    picture = bytearray(whole[whole.index(b"\x21\xf9") : -1])
    at = picture.index(b",")
    picture[at + 5 : at + 9] = struct.pack("<HH", *frame)
    (tmp_path / "bomb.gif").write_bytes(header + picture * num_frames + b";")
    with pytest.raises(VideoError, match="px in all; wanted sides of 1 to 4096 px"):
        read_frames(tmp_path / "bomb.gif")


def test_transparent_pixels_show_white_and_partial_frames_show_what_lies_below(tmp_path: Path):
    """Transparent, partial and disposed frames as GIF's standard defines them, against frames painted by hand."""
    red, blue = (255, 0, 0), (0, 0, 255)
    parts = [b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0x80, 0, 0) + bytes(red + blue)]

    def add(
        left: int,
        top: int,
        width: int,
        height: int,
        *,
        index: int,
        disposal: int,
        transparent: bool,
    ) -> None:
        pixels = bytes([0x80] + [index] * (width * height) + [0x81])  # 8-bit codes: clear, literals, end
        parts.append(struct.pack("<BBBBHBB", 0x21, 0xF9, 4, disposal << 2 | int(transparent), 5, index, 0))
        parts.append(b"," + struct.pack("<HHHHBBB", left, top, width, height, 0, 7, len(pixels)) + pixels + b"\0")

    add(0, 0, 2, 4, index=0, disposal=1, transparent=False)  # the left half red, the rest untouched
    add(1, 1, 2, 2, index=1, disposal=3, transparent=False)  # a blue square, taken away afterwards
    add(0, 0, 1, 1, index=1, disposal=1, transparent=True)  # nothing to see
    (tmp_path / "layers.gif").write_bytes(b"".join(parts) + b";")

    expected = np.full((3, 4, 4, 3), 255, dtype=np.uint8)
    expected[:, :, :2] = red
    expected[1, 1:3, 1:3] = blue
    frames, delays = read_frames(tmp_path / "layers.gif"), delays_of(tmp_path / "layers.gif")
    assert delays == [50, 50, 50]
    np.testing.assert_array_equal(frames[:, :, :2], expected[:, :, :2])  # the right half is the background, as declared
    np.testing.assert_array_equal(frames[1, 1:3, 2], expected[1, 1:3, 2])


def test_a_transparent_animation_by_pillow_reads_as_composited_over_white(tmp_path: Path):
    layers = []
    for i in range(4):
        layer = np.zeros((12, 12, 4), dtype=np.uint8)
        layer[i : i + 5, i : i + 5] = (200, 40 * i, 30, 255)
        layers.append(Image.fromarray(layer))
    layers[0].save(tmp_path / "alpha.gif", save_all=True, append_images=layers[1:], duration=70, disposal=2)
    frames, delays = read_frames(tmp_path / "alpha.gif"), delays_of(tmp_path / "alpha.gif")
    white = Image.new("RGBA", (12, 12), "white")
    expected = np.stack([np.asarray(Image.alpha_composite(white, layer).convert("RGB")) for layer in layers])
    assert delays == [70] * 4
    np.testing.assert_array_equal(frames, expected)


def test_partial_frames_written_by_pillow_read_as_full_ones_with_their_own_delays(tmp_path: Path):
    frames = np.full((5, 16, 16, 3), 255, dtype=np.uint8)
    for i in range(5):
        frames[i, 2 * i : 2 * i + 3, 3:9] = (255, 0, 51 * i)
    images = [Image.fromarray(frame) for frame in frames]
    times = [20, 30, 40, 50, 60]
    images[0].save(tmp_path / "part.gif", save_all=True, append_images=images[1:], duration=times, optimize=True)
    back, delays = read_frames(tmp_path / "part.gif"), delays_of(tmp_path / "part.gif")
    assert delays == times
    np.testing.assert_array_equal(back, frames)


def test_grey_and_single_frame_files_read_as_rgb(tmp_path: Path):
    grey = noise(9, 7)
    Image.fromarray(grey).save(tmp_path / "grey.gif")
    frames, delays = read_frames(tmp_path / "grey.gif"), delays_of(tmp_path / "grey.gif")
    assert delays == [0]
    np.testing.assert_array_equal(frames, np.repeat(grey[None, :, :, None], 3, axis=3))
