"""What goes wrong with people's files and is no damage: each is read as a player shows it, or told in one line."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.reading.films import film, numbers
from utils.layouts.listing import Row
from utils.reading.reader import ReadClip, read_clip


def read(path: Path, num_frames: int = 12, *, start: float = 0.0, end: float | None = None) -> ReadClip:
    return read_clip(Row(path, "x", "x", start=start, end=end), num_frames=num_frames, image_size=32)


def test_a_header_that_counts_too_many_frames_is_not_asked(tmp_path: Path) -> None:
    path = film(tmp_path / "a.avi", codec="mpeg4")
    data = bytearray(path.read_bytes())
    for chunk, offset in ((b"avih", 16), (b"strh", 32)):  # dwTotalFrames, dwLength
        struct.pack_into("<I", data, data.index(chunk) + 8 + offset, 120)
    path.write_bytes(data)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 120
    found = read(path)
    assert found.facts.num_source == 12 and numbers(found.frames) == list(range(12))


def test_an_edit_list_shows_its_part_alone(tmp_path: Path) -> None:
    """Of 12 frames, 10 a second, the list shows 0.7 s from the second frame on."""
    path = film(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        base = container.streams.video[0].time_base
    at = data.index(b"elst") + 12
    struct.pack_into(">Ii", data, at, 700, round(Fraction(1, 10) / base))
    path.write_bytes(data)
    found = read(path, 7)
    assert numbers(found.frames) == [1, 2, 3, 4, 5, 6, 7] and found.facts.seconds == pytest.approx(0.7)


def test_a_webm_that_claims_1000_frames_a_second_goes_by_its_own_timestamps(tmp_path: Path) -> None:
    path = film(tmp_path / "a.webm", codec="libvpx-vp9", rate=1000, ticks=[100 * i for i in range(12)])
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 1000
    found = read(path)
    assert found.facts.frames_per_second == pytest.approx(10) and found.facts.remarks == []
    assert np.abs(np.subtract(numbers(found.frames), range(12))).max() <= 1  # starved of bits by that rate


def test_20_000_frames_are_no_more_than_the_ones_that_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with (
        av.open(str(film(tmp_path / "one.mkv", 1, codec="mjpeg", pixels="yuvj420p", size=(16, 16)))) as one,
        av.open(str(path), "w") as container,
    ):
        stream = container.add_stream_from_template(one.streams.video[0])
        data = bytes(next(one.demux(video=0)))
        for index in range(20_000):
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 1000), True
            packet.pts = packet.dts = 40 * index
            container.mux(packet)
    found = read(path, 16)
    assert (found.facts.num_source, len(found.frames)) == (20_000, 16)
    assert read(path, 4, start=790.0).facts.num_source == 250
