"""utils/reading: every container, turned, stretched, cut and damaged as they come; files made here with PyAV."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.reading.films import film, grey, numbers, turn
from utils.layouts.listing import Row
from utils.reading.clip import fit
from utils.reading.reader import ReadClip, read_clip
from utils.video import VideoError

ALL = list(range(12))


def read(path: Path, num_frames: int = 12, **how: object) -> ReadClip:
    row = {name: how.pop(name) for name in ("start", "end", "frames_per_second", "stretch") if name in how}
    return read_clip(Row(path, "x", "x", **row), num_frames=num_frames, image_size=32, **how)


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mov", "mpeg4", "yuv420p"),
        ("a.mkv", "libx264", "yuv444p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
    ],
)
def test_every_container_gives_its_frames_in_order(name: str, codec: str, pixels: str, tmp_path: Path) -> None:
    found = read(film(tmp_path / name, codec=codec, pixels=pixels))
    assert numbers(found.frames) == ALL and found.frames.shape == (12, 32, 32, 3)
    assert (
        found.facts.size == (64, 48)
        and found.facts.frames_per_second == pytest.approx(10, rel=0.01)
        and found.facts.remarks == []
    )


def test_mpeg_programs_are_read(tmp_path: Path) -> None:
    found = read(film(tmp_path / "a.mpg", rate=25, codec="mpeg2video", base=25))
    assert numbers(found.frames) == ALL


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animations_are_read_by_their_own_delays(kind: str, tmp_path: Path) -> None:
    frames = [Image.fromarray(grey(i)) for i in range(3)]
    path = tmp_path / f"a.{kind.lower()}"
    how = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(path, kind, save_all=True, append_images=frames[1:], duration=[100, 800, 100], **how)
    assert numbers(read(path, 10).frames) == [0, *[1] * 8, 2]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_folder_of_frames_with_a_hole_and_a_stray_file_is_read(suffix: str, tmp_path: Path) -> None:
    for i in (1, 2, 4):
        Image.fromarray(grey(i)).save(tmp_path / f"images{i:04d}.{suffix}")
    (tmp_path / "createDnnTrainingLabels-profile.py.lprof").write_bytes(b"x")
    found = read(tmp_path, 4, frames_per_second=25.0)
    assert numbers(found.frames) == [1, 2, 2, 4] and "1 of its frames are missing" in found.facts.remarks[0]


def test_anamorphic_frames_are_stretched(tmp_path: Path) -> None:
    for i in range(2):
        Image.fromarray(grey(i, width=210, height=260)).save(tmp_path / f"{i}.png")
    assert read(tmp_path, 2, frames_per_second=25.0, stretch=300 / 260).facts.size == (210, 300)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_rotated_file_stands_upright(degrees: int, tmp_path: Path) -> None:
    found = read(turn(film(tmp_path / "a.mp4"), degrees))
    dark = {0: (0, 0), 90: (0, 1), 180: (1, 1), 270: (1, 0)}[degrees]  # where the darker quarter goes, clockwise
    halves = found.frames[-1, ..., 0].reshape(2, 16, 2, 16).mean((1, 3))
    assert np.unravel_index(halves.argmin(), (2, 2)) == dark
    assert found.facts.size == ((64, 48) if degrees % 180 == 0 else (48, 64)) and abs(found.facts.rotation) % 360 in (
        degrees,
        360 - degrees,
    )


def test_square_pixels_are_made_of_others(tmp_path: Path) -> None:
    assert read(film(tmp_path / "a.mp4", aspect=Fraction(4, 3))).facts.size == (85, 48)


def test_a_variable_rate_shows_what_a_player_shows(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", 4, ticks=[0, 100, 200, 900])
    found = read(path, 10)
    assert numbers(found.frames)[:9] == [0, 1, 2, 2, 2, 2, 2, 2, 2]


def test_timestamps_that_begin_at_five_seconds_change_nothing(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", ticks=[5000 + 100 * i for i in ALL])
    assert numbers(read(path).frames) == ALL
    assert numbers(read(path, 2, start=0.5, end=0.7).frames) == [5, 6]


@pytest.mark.parametrize("gop", [1, 4, 250])
def test_a_window_is_decoded_from_the_key_frame_before_it(gop: int, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", gop=gop)
    assert numbers(read(path, 3, start=0.8, end=1.1).frames) == [8, 9, 10]
    assert numbers(read(path, 4, rate=10.0, place=0.0).frames) == [0, 1, 2, 3]
    assert numbers(read(path, 4, rate=10.0, place=1.0).frames) == [8, 9, 10, 11]


def test_an_end_beyond_the_end_is_cut_and_a_start_beyond_it_refused(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    assert numbers(read(path, 2, start=1.0, end=99.0).frames) == [10, 11]
    with pytest.raises(VideoError, match="a.mp4: 7 s to 9 s holds nothing"):
        read(path, 2, start=7.0, end=9.0)


def test_a_clip_shorter_than_its_window_is_said(tmp_path: Path) -> None:
    found = read(film(tmp_path / "a.mp4"), 16, rate=10.0)
    assert numbers(found.frames) == [*ALL, 11, 11, 11, 11] and "shorter than 16 frames" in found.facts.remarks[0]


def test_a_rate_that_nobody_films_with_is_said(tmp_path: Path) -> None:
    found = read(film(tmp_path / "a.mkv", ticks=ALL))
    assert "frames per second by its own timestamps" in found.facts.remarks[0]


def test_ten_bits_are_read_and_hdr_is_said(tmp_path: Path) -> None:
    found = read(film(tmp_path / "a.mkv", codec="libx265", pixels="yuv420p10le", trc=16))
    assert numbers(found.frames) == ALL
    assert "HDR (PQ)" in found.facts.remarks[0]


def test_odd_sizes_and_names_are_read(tmp_path: Path) -> None:
    path = film(tmp_path / "-it's a b ü你.mkv", codec="ffv1", pixels="bgr0", size=(63, 47))
    assert read(path).facts.size == (63, 47)


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    solid = Image.new("RGBA", (32, 32), (0, 0, 0, 255))
    clear.save(tmp_path / "a.webp", save_all=True, append_images=[solid], duration=100, lossless=True)
    assert read(tmp_path / "a.webp", 2).frames.mean((1, 2, 3)).tolist() == [255, 0]


def test_pixels_that_would_make_a_picture_without_end_are_refused() -> None:
    assert fit(1600, 100, 10) == (160, 10)
    with pytest.raises(ValueError, match="64000x48 px; wanted sides of at most 16 to 1"):
        fit(64_000, 48, 10)


def broken(path: Path, change: Callable[[bytes], bytes], *, faststart: bool = False) -> Path:
    film(path, options={"movflags": "faststart"} if faststart else None)
    path.write_bytes(change(path.read_bytes()))
    return path


def audio_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        for packet in (*stream.encode(frame), *stream.encode()):
            container.mux(packet)
    return path


def text_gif(path: Path) -> Path:
    path.write_bytes(b"GIF89a" + b"x" * 100)
    return path


def wide(path: Path) -> Path:
    frames = [Image.new("L", (99_000, 2), level) for level in (0, 255)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


FAULTS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "moov atom missing": (
        lambda f: broken(f / "a.mp4", lambda data: data.replace(b"moov", b"lost")),
        "cannot be opened",
    ),
    "cut short": (lambda f: broken(f / "a.mp4", lambda data: data[:-900], faststart=True), "cut short"),
    "zero bytes": (lambda f: broken(f / "a.mp4", lambda data: b""), "0 bytes"),
    "text": (lambda f: broken(f / "a.mp4", lambda data: b"hello " * 100), "cannot be opened"),
    "audio only": (lambda f: audio_only(f / "a.mp4"), "no video track"),
    "one frame": (lambda f: film(f / "a.mp4", 1), "one frame"),
    "a gif of text": (lambda f: text_gif(f / "a.gif"), "is damaged"),
    "a missing file": (lambda f: f / "none.mp4", "no file"),
    "a frame of 99,000 px": (lambda f: wide(f / "a.png"), "wanted at most 8192 a side"),
    "an empty folder": (lambda f: f, "no frame"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_used_is_one_line_with_the_name_and_leaves_no_file_open(fault: str, tmp_path: Path) -> None:
    make, reason = FAULTS[fault]
    path = make(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(VideoError) as raised:
        read(path)
    assert str(path) in str(raised.value) and reason in str(raised.value) and "\n" not in str(raised.value)
    del raised
    assert len(os.listdir("/proc/self/fd")) == before


def test_memory_is_bounded_by_what_is_kept(tmp_path: Path) -> None:
    """Frames of 0.9 MB each, 300 of them, of which 16 are kept at 32 px."""
    path = film(tmp_path / "a.mkv", 300, size=(640, 480), gop=30, rate=30)
    read(path, 16)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3):
        read(path, 16)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB
