"""Writing a clip, GIF, MP4, animated WebP or a folder of PNG frames, each with a comment inside that says what made it.

    write_clip(Path("hello.mp4"), frames, fps=25, comment="...")      # the suffix tells the form, none: a folder
    read_comment(Path("hello.mp4"))                                    # of whichever form

The same frames give the same bytes every time, and come back as many as they were. WebP and PNG keep every pixel, GIF
up to 256 colours a frame, MP4 its light nearly and its colour at half the resolution. imageio writes single pictures,
Pillow, PyAV and our own code what moves: imageio merges the equal frames of a GIF and a WebP, and an MP4's quality,
threads and colour matrix are not to be set through it.
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import imageio.v3 as iio
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from utils.files import FileError, write_file
from utils.gif import DAMAGED, MAX_FPS, check_extent, encode_gif, read_bytes
from utils.gif import read_comment as read_gif_comment
from utils.video import VideoError, check_frames

CRF = "10"  # x264's constant quality: of 0 (lossless) to 51, where 18 is called visually lossless
BT709, LIMITED = 1, 1  # ITU-T H.273: what players take for granted, and what ours are told
MAX_MP4_FPS = 240
DESCRIPTION = 0x010E  # EXIF's ImageDescription, where a WebP has its comment
TEXT = "Comment"  # the key of a PNG's text


class Form(NamedTuple):
    """A way to write a clip. ``encode(frames, fps, comment)`` gives its parts: one file, or one file a frame."""

    suffix: str  # of its file; empty: it is a folder
    package: str  # whose version may change its bytes
    encode: Callable[[np.ndarray, float, str], list[bytes]]
    read_comment: Callable[[Path], str]


# ---- Any form -------------------------------------------------------------------------------------------------------


def write_clip(path: Path, frames: np.ndarray, *, fps: float, comment: str = "") -> None:
    """(F, H, W, 3) uint8 -> what appears at ``path`` whole or not at all, in the form that its suffix names.

    Raises:
        VideoError: a suffix of no form, other frames, or too large or too fast for the form.
        FileError: the disk refuses.
    """
    form = form_named(path)
    write_parts(path, encode_clip(frames, fps, form=form, comment=comment), form=form)


def encode_clip(frames: np.ndarray, fps: float, *, form: str, comment: str = "") -> list[bytes]:
    """(F, H, W, 3) uint8 -> the parts of a clip: the bytes of its one file, or of one PNG file a frame.

    Raises:
        VideoError: other frames, or too large or too fast for the form.
    """
    check_frames(frames)
    check_extent("The clip", *frames.shape[:3])
    most = MAX_MP4_FPS if form == "mp4" else MAX_FPS
    if not 1 <= fps <= most:
        raise VideoError(f"The clip asks for {fps:g} frames per second; wanted 1 to {most}.")
    return FORMS[form].encode(frames, fps, comment)


def write_parts(path: Path, parts: list[bytes], *, form: str) -> None:
    """What ``encode_clip`` gave, into one file or a folder, whatever its name.

    Raises:
        FileError: the disk refuses, or other things than a clip's frames lie in the folder.
    """
    if form != "frames":
        write_file(path, parts[0])
        return
    partial, before = path.with_name(f".{path.name}.{os.getpid()}.partial"), _frames_in(path)
    try:
        if path.exists() and {*path.iterdir()} > {*before}:
            raise FileError(f"{path} holds other files than a clip's frames. Move them, or write elsewhere.")
        for number, part in enumerate(parts, start=1):
            write_file(partial / f"{number:05d}.png", part, durable=False)  # one that is lost is missed
        for frame in before:
            frame.unlink()
        if path.is_dir():
            path.rmdir()  # Windows replaces no folder
        os.replace(partial, path)
    except OSError as error:
        raise FileError(f"{path} cannot become a folder of frames: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_parts(path: Path) -> list[bytes]:
    """The bytes of a written clip, as ``encode_clip`` gives them.

    Raises:
        VideoError: it cannot be read.
    """
    return [read_bytes(part) for part in _frames_in(path)] if path.is_dir() else [read_bytes(path)]


def read_comment(path: Path) -> str:
    """The comment of a clip; empty where there is none. What is no UTF-8 becomes lone surrogates.

    Raises:
        VideoError: no clip of these forms, or it cannot be read.
    """
    return FORMS[form_at(path)].read_comment(path)


def form_named(path: Path) -> str:
    """The form that a path's suffix names, whether or not anything is there.

    Raises:
        VideoError: none of ours.
    """
    for name, form in FORMS.items():
        if path.suffix.lower() == form.suffix:
            return name
    known = ", ".join(SUFFIXES)
    raise VideoError(f"{path} ends in {path.suffix!r}; wanted {known}, or nothing for a folder of frames.")


def check_name(path: Path, form: str) -> None:
    """Raises:
    VideoError: the name ends as a file of another form does.
    """
    wanted = FORMS[form].suffix
    if path.suffix.lower() != wanted and (wanted or path.suffix.lower() in SUFFIXES):
        how = f"one that ends in {wanted}" if wanted else "that of a folder"
        raise VideoError(f"{path} is no name for {form}; wanted {how}.")


def form_at(path: Path) -> str:
    """The form of what lies at ``path``, by its content, whatever its name.

    Raises:
        VideoError: none of ours, or it cannot be read.
    """
    if path.is_dir():
        return "frames"
    start = read_bytes(path, most=12)
    wanted = "wanted a GIF, MP4 or WebP file, or a folder of PNG frames."
    if not start:
        raise VideoError(f"{path} is empty (0 bytes); {wanted}")
    if start[4:8] == b"ftyp":
        return "mp4"
    if start[:4] == b"RIFF" and start[8:] == b"WEBP":
        return "webp"
    if start[:3] == b"GIF":
        return "gif"
    raise VideoError(f"{path} begins with {start!r}; {wanted}")


def enlarged(frames: np.ndarray, scale: int) -> np.ndarray:
    """(F, H, W, 3) -> (F, H * scale, W * scale, 3): every pixel becomes a square."""
    return frames.repeat(scale, axis=1).repeat(scale, axis=2)


# ---- MP4 ------------------------------------------------------------------------------------------------------------


def encode_mp4(frames: np.ndarray, fps: float, comment: str = "") -> list[bytes]:
    """H.264 in 4:2:0, as every browser plays it, its index in front; odd sides get their last row or column twice.

    One thread, so that the bytes hang on the version of x264 alone. Colour is kept at half the resolution, so it bleeds
    at the edges of a picture that is not enlarged.
    """
    import av  # takes a while, and a GIF needs none of it

    even = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
    with tempfile.TemporaryDirectory() as folder:  # the index is moved to the front by a second pass over a real file
        path = Path(folder) / "clip.mp4"
        with av.open(path, "w", options={"movflags": "+faststart"}) as file:
            file.metadata["comment"] = comment
            stream = file.add_stream("libx264", Fraction(fps).limit_denominator(1001), options={"crf": CRF, "bf": "0"})
            stream.height, stream.width, stream.pix_fmt = *even.shape[1:3], "yuv420p"
            context = stream.codec_context
            context.thread_count = 1
            context.color_primaries = context.color_trc = context.colorspace = BT709
            context.color_range = LIMITED
            for pixels in even:
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                yuv = frame.reformat(format="yuv420p", dst_colorspace=BT709, dst_color_range=LIMITED)
                file.mux(stream.encode(yuv))
            file.mux(stream.encode())
        return [path.read_bytes()]


def _mp4_comment(path: Path) -> str:
    import av

    try:
        with open(path, "rb") as content, av.open(content, "r", metadata_errors="surrogateescape") as file:
            return file.metadata.get("comment", "")
    except (OSError, av.error.FFmpegError) as error:
        raise _unreadable(path, error) from error


# ---- WebP -----------------------------------------------------------------------------------------------------------


def encode_webp(frames: np.ndarray, fps: float, comment: str = "") -> list[bytes]:
    """Lossless, endless, a whole picture a frame (Google's "WebP Container Specification"). Times are in whole ms."""
    height, width = frames.shape[1:3]
    ends = [round(1000 * number / fps) for number in range(len(frames) + 1)]
    body = b"WEBP" + _chunk(b"VP8X", struct.pack("<I", 0x0A) + _three(width - 1) + _three(height - 1))  # EXIF, animated
    body += _chunk(b"ANIM", struct.pack("<IH", 0xFFFFFFFF, 0))  # on white; for ever
    for pixels, start, end in zip(frames, ends, ends[1:], strict=False):
        still = iio.imwrite("<bytes>", pixels, extension=".webp", lossless=True)
        place = bytes(6) + _three(width - 1) + _three(height - 1) + _three(end - start) + b"\x02"  # not blended
        body += _chunk(b"ANMF", place + still[12:])
    exif = Image.Exif()
    exif[DESCRIPTION] = comment.encode()
    return [_chunk(b"RIFF", body + _chunk(b"EXIF", exif.tobytes().removeprefix(b"Exif\0\0")))]


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _three(number: int) -> bytes:
    return number.to_bytes(3, "little")


def _webp_comment(path: Path) -> str:
    try:
        with Image.open(path, formats=["WEBP"]) as image:
            text = image.getexif().get(DESCRIPTION, "")
    except DAMAGED as error:
        raise _unreadable(path, error) from error
    return text.encode("latin-1").decode("utf-8", "surrogateescape") if isinstance(text, str) else ""


# ---- A folder of frames ---------------------------------------------------------------------------------------------


def encode_frames(frames: np.ndarray, fps: float, comment: str = "") -> list[bytes]:
    """A PNG a frame, the comment in each, since they can part; ``fps`` is only in the comment, if there."""
    text = PngInfo()
    text.add_itxt(TEXT, comment)
    return [iio.imwrite("<bytes>", pixels, extension=".png", pnginfo=text) for pixels in frames]


def _frames_comment(path: Path) -> str:
    first = next(iter(_frames_in(path)), None)
    if first is None:
        raise VideoError(f"{path} is a folder without a frame; wanted 00001.png and so on.")
    try:
        with Image.open(first, formats=["PNG"]) as image:
            return str(image.text.get(TEXT, ""))
    except DAMAGED as error:
        raise _unreadable(first, error) from error


def _frames_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.png"))


def _unreadable(path: Path, error: Exception) -> VideoError:
    return VideoError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error}); is it whole?")


# ---- All forms ------------------------------------------------------------------------------------------------------


FORMS = {
    "gif": Form(".gif", "pillow", encode_gif, read_gif_comment),
    "mp4": Form(".mp4", "av", encode_mp4, _mp4_comment),
    "webp": Form(".webp", "pillow", encode_webp, _webp_comment),
    "frames": Form("", "pillow", encode_frames, _frames_comment),
}
SUFFIXES = tuple(form.suffix for form in FORMS.values() if form.suffix)
"""Of files that are clips."""
