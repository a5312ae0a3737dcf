"""utils/writing.py: every form gives back its frames and its comment, and an MP4 is one that players play."""

from __future__ import annotations

import io
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.conftest import files_below, moving_square
from tests.data.pictures import gradient, noise
from utils.files import FileError
from utils.layouts.listing import Row
from utils.reading.reader import open_source
from utils.video import VideoError
from utils.writing import FORMS, encode_clip, enlarged, form_at, form_named, read_comment, read_parts, write_clip

NAMES = {form: f"clip{details.suffix}" for form, details in FORMS.items()}
COMMENTS = ["seed 42", "", "gr\u00fc\u00df \u2764 \U0001f44b\nline two", "x" * 70_000, '{"a": "<b>&\\""}']


def shown(path: Path) -> np.ndarray:
    """All frames as a reader of training clips has them, at their own size."""
    with open_source(Row(path, "", "", frames_per_second=8.0)) as source:
        side = min(next(iter(source.pictures([0], side=1))).size)
        pictures = source.pictures(list(range(len(source.timeline.starts))), side=side)
        return np.stack([picture.pixels for picture in pictures])


@pytest.fixture(params=FORMS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where a clip of each form goes."""
    return tmp_path / NAMES[request.param]


# ---- Any form -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("comment", COMMENTS, ids=range(len(COMMENTS)))
def test_a_comment_of_any_length_comes_back(path: Path, comment: str) -> None:
    write_clip(path, noise(2, 8, 8, 3), fps=8, comment=comment)
    assert read_comment(path) == comment


def test_sixteen_equal_frames_stay_sixteen(path: Path) -> None:
    frames = np.repeat(moving_square(0, num_frames=1), 16, axis=0)
    write_clip(path, frames, fps=8)
    assert len(shown(path)) == 16


def test_frames_come_back_exactly_but_from_an_mp4(path: Path) -> None:
    frames = moving_square(3, num_frames=6)
    write_clip(path, frames, fps=8)
    distance = np.abs(shown(path).astype(int) - frames)
    assert distance.mean() < 3 if path.suffix == ".mp4" else distance.max() == 0


def test_a_webp_and_pngs_keep_any_colours_and_an_enlarged_mp4_nearly(tmp_path: Path) -> None:
    frames = np.stack([gradient(), gradient()[::-1]])
    for name, most in (("a.webp", 0), ("a", 0), ("b.mp4", 6)):
        write_clip(tmp_path / name, enlarged(frames, 2), fps=8)
        assert np.abs(shown(tmp_path / name)[:, ::2, ::2].astype(int) - frames).max() <= most


@pytest.mark.parametrize("fps", [8, 12.5, 24, 30000 / 1001])
def test_a_clip_lasts_as_long_as_its_frames(tmp_path: Path, fps: float) -> None:
    for name, error in (("a.gif", 0.0051), ("a.webp", 0.0006), ("a.mp4", 0.001)):
        write_clip(tmp_path / name, moving_square(0, num_frames=10), fps=fps)
        with open_source(Row(tmp_path / name, "", "")) as source:
            assert source.timeline.end == pytest.approx(10 / fps, abs=error)
            assert source.timeline.starts == pytest.approx(np.arange(10) / fps, abs=error)


def test_the_same_frames_give_the_same_bytes_and_nothing_else_stays(path: Path) -> None:
    write_clip(path, noise(3, 16, 16, 3), fps=8, comment="x")
    before = files_below(path.parent)
    write_clip(path, noise(3, 16, 16, 3), fps=8, comment="x")
    assert files_below(path.parent) == before
    assert read_parts(path) == encode_clip(noise(3, 16, 16, 3), 8, form=form_at(path), comment="x")


def test_the_form_is_known_by_content_and_by_name(path: Path) -> None:
    write_clip(path, noise(2, 8, 8, 3), fps=8)
    other = path.with_name("other.xyz")
    shutil.move(path, other)
    assert form_at(other) == form_named(path)
    with pytest.raises(VideoError, match=r"ends in '\.xyz'; wanted \.gif, \.mp4, \.webp, or nothing"):
        form_named(other)


@pytest.mark.parametrize("fps", [0, -1, 241, float("nan")])
def test_frame_rates_that_nobody_can_show_are_refused(path: Path, fps: float) -> None:
    with pytest.raises(VideoError, match="frames per second; wanted 1 to"):
        write_clip(path, noise(2, 8, 8, 3), fps=fps)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("frames", [noise(8, 8, 3), noise(2, 8, 8, 4), noise(0, 8, 8, 3), noise(1, 1, 5000, 3)])
def test_what_is_no_clip_is_refused(path: Path, frames: np.ndarray) -> None:
    with pytest.raises(VideoError, match="wanted"):
        write_clip(path, frames, fps=8)


@pytest.mark.parametrize("length", [0, 5, 12, 60, 200])
def test_a_file_that_was_cut_has_no_comment_to_believe(path: Path, length: int) -> None:
    write_clip(path, noise(2, 32, 32, 3), fps=8, comment="x" * 300)
    cut = path / "00001.png" if path.is_dir() else path
    cut.write_bytes(cut.read_bytes()[:length])
    try:
        assert read_comment(path) == ""
    except VideoError as error:
        assert str(error).startswith(str(cut)) and "\n" not in str(error)


def test_what_is_no_clip_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.gif").write_text("hello")
    (tmp_path / "empty").mkdir()
    found = {"text.gif": "begins with b'hello'; wanted a GIF, MP4 or WebP", "none.mp4": "cannot be read: No such file"}
    for name, message in {**found, "empty": "is a folder without a frame"}.items():
        with pytest.raises(VideoError, match=message):
            read_comment(tmp_path / name)


# ---- MP4 ------------------------------------------------------------------------------------------------------------


def test_an_mp4_is_one_that_every_browser_plays(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", moving_square(0, num_frames=16), fps=25, comment="told")
    data = (tmp_path / "clip.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")
    with av.open(tmp_path / "clip.mp4") as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.frames) == ("h264", "yuv420p", 16)
        assert (stream.width, stream.height, stream.average_rate) == (16, 16, 25)
        assert stream.duration * stream.time_base == Fraction(16, 25) and file.metadata["comment"] == "told"
        assert [frame.time for frame in file.decode(stream)] == pytest.approx(np.arange(16) / 25)


@pytest.mark.parametrize(("height", "width"), [(15, 17), (16, 17), (1, 1), (64, 64)])
def test_odd_sides_become_even_and_nothing_is_lost(tmp_path: Path, height: int, width: int) -> None:
    grey = np.repeat(noise(3, height, width, 1), 3, axis=3)
    write_clip(tmp_path / "odd.mp4", grey, fps=8)
    with av.open(tmp_path / "odd.mp4") as file:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
    assert frames.shape == (3, height + height % 2, width + width % 2, 3)
    assert np.abs(frames[:, :height, :width].astype(int) - grey).max() < 16
    if width % 2:
        assert np.abs(frames[:, :height, -1].astype(int) - frames[:, :height, -2]).max() < 16


def test_colours_are_those_of_the_standard_that_players_take_for_granted(tmp_path: Path) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 150, 120)]
    frames = np.stack([np.full((16, 16, 3), colour, dtype=np.uint8) for colour in colours])
    write_clip(tmp_path / "clip.mp4", frames, fps=8)
    with av.open(tmp_path / "clip.mp4") as file:
        decoded = list(file.decode(video=0))
    assert {(int(f.colorspace), int(f.color_range)) for f in decoded} == {(1, 1)}  # BT.709, limited
    luma = [round(16 + 219 * (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255) for r, g, b in colours]  # ITU-R BT.709-6
    assert [int(f.to_ndarray()[8, 8]) for f in decoded] == pytest.approx(luma, abs=1)


# ---- Single pictures ------------------------------------------------------------------------------------------------


def test_single_pictures_have_the_bytes_that_pillow_gives_them() -> None:
    frames, text = np.stack([gradient(), noise(*gradient().shape)])[:, ::-1], PngInfo()  # rows not in memory's order
    text.add_itxt("Comment", "gr\u00fc\u00df")
    wanted = {"PNG": [], "WEBP": []}
    for pixels in frames:
        for kind, options in (("PNG", {"pnginfo": text}), ("WEBP", {"lossless": True})):
            file = io.BytesIO()
            Image.fromarray(np.ascontiguousarray(pixels)).save(file, format=kind, **options)
            wanted[kind].append(file.getvalue())
    assert encode_clip(frames, 8, form="frames", comment="gr\u00fc\u00df") == wanted["PNG"]
    webp = encode_clip(frames, 8, form="webp")[0]
    assert all(picture[12:] in webp for picture in wanted["WEBP"])


# ---- A folder of frames ---------------------------------------------------------------------------------------------


def test_every_frame_of_a_folder_tells_where_it_comes_from(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip", noise(3, 8, 8, 3), fps=8, comment="gr\u00fc\u00df")
    files = sorted((tmp_path / "clip").iterdir())
    assert [file.name for file in files] == ["00001.png", "00002.png", "00003.png"]
    assert {Image.open(file).text["Comment"] for file in files} == {"gr\u00fc\u00df"}


def test_a_shorter_clip_leaves_no_frame_of_a_longer_one_and_another_file_is_never_removed(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip", noise(3, 8, 8, 3), fps=8)
    write_clip(tmp_path / "clip", noise(2, 8, 8, 3), fps=8)
    assert len(shown(tmp_path / "clip")) == 2
    (tmp_path / "clip" / "notes.txt").write_text("mine")
    with pytest.raises(FileError, match="holds other files than a clip's frames"):
        write_clip(tmp_path / "clip", noise(3, 8, 8, 3), fps=8)
    assert {path.name for path in (tmp_path / "clip").iterdir()} == {"00001.png", "00002.png", "notes.txt"}
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]
