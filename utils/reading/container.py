"""MP4, MOV, MKV, WebM, AVI, MPEG through PyAV: upright, with square pixels, in RGB, decoded only as far as needed.

Packets are walked once, without decoding, for the frames' own times: headers count frames that are not there, claim
rates of 1,000, and know nothing of edit lists. Then the wanted frames are decoded one after the other, from the key
frame before each; one decoded frame is held, and what is kept is small already. One thread: more of them hang or gain
nothing at a clip a process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from utils.reading.clip import Picture, fit, middle, on_white
from utils.reading.timeline import Timeline, timeline_of
from utils.reading.whole import check_whole
from utils.video import VideoError

RAW = ("h264", "hevc", "m4v", "mjpeg", "mpegvideo", "av1", "obu")  # what FFmpeg finds in an MP4 that lost its index
HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics (ITU-T H.273, table 3) of more light than RGB here can say


class Container:
    """An open video file; ``pictures`` gives its frames. A context manager: the file is closed at its end."""

    def __init__(self, path: Path) -> None:
        self.path, self.remarks = path, []
        self._keys: list[float] = []  # seconds of the key frames, rising

    def __enter__(self) -> Container:
        import av  # takes a while, and a folder of GIFs needs none of it

        self._errors: tuple[type[Exception], ...] = (av.error.FFmpegError, EOFError, ValueError)
        self._area, self._bicubic = av.video.reformatter.Interpolation.AREA, av.video.reformatter.Interpolation.BICUBIC
        self._file = open(self.path, "rb")  # so that no name is taken for an address
        try:
            check_whole(self.path, self._file)
            with self._told("cannot be opened as a video; is it whole?"):
                self._container = av.open(self._file, "r")
            if self._container.format.name in RAW:
                raise VideoError(
                    f"{self.path}: pictures without a container ({self._container.format.name}); is it whole?"
                )
            if not self._container.streams.video:
                raise VideoError(f"{self.path}: no video track; wanted a file with pictures")
            self._stream = self._container.streams.video[0]
            self._stream.thread_count = 1
            self.timeline = self._walk()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "_container"):
            self._container.close()
        self._file.close()

    def pictures(self, indices: list[int], *, side: int, square: bool = False) -> Iterator[Picture]:
        """As ``Source`` has it.

        Raises:
            VideoError: damaged before the last of them.
        """
        at, frames = -np.inf, iter(())
        for index, group in groupby(indices):
            moment = float(self.timeline.starts[index])
            if self._key_before(moment) > at:  # else it is nearer to go on
                frames = self._decode(moment)
            picture = self._upright(self._frame_at(frames, moment), side)
            if square:
                left, top, right, bottom = middle(*picture.pixels.shape[1::-1])
                picture = picture._replace(pixels=picture.pixels[top:bottom, left:right])
            at = moment
            yield from (picture for _ in group)

    # ---- times ------------------------------------------------------------------------------------------------------

    def _walk(self) -> Timeline:
        """When each frame is shown, from the packets; a file that breaks off is an error, whatever came before."""
        starts, last, duration = [], -1.0, None
        with self._told("is damaged or cut short"):
            for packet in self._container.demux(self._stream):
                if packet.pts is None or packet.is_discard:
                    continue
                start = float(packet.pts * packet.time_base)
                starts.append(start)
                if packet.is_keyframe:
                    self._keys.append(start)
                if start > last:
                    last, duration = start, float((packet.duration or 0) * packet.time_base) or None
        self._keys.sort()
        try:
            return timeline_of(starts, duration)
        except VideoError as error:
            raise VideoError(f"{self.path}: {error}") from error

    def _key_before(self, moment: float) -> float:
        index = int(np.searchsorted(self._keys, moment + 1e-6, side="right")) - 1
        return self._keys[index] if index >= 0 else 0.0

    # ---- frames -----------------------------------------------------------------------------------------------------

    def _decode(self, moment: float) -> Iterator[Any]:
        """Decoded frames from the key frame before ``moment`` on."""
        base = self._stream.time_base
        with self._told("is damaged or cut short"):
            self._container.seek(int(moment / base), stream=self._stream, backward=True)
            yield from self._container.decode(self._stream)

    def _frame_at(self, frames: Iterator[Any], moment: float) -> Any:
        for frame in frames:
            if frame.time is not None and frame.time >= moment - 1e-6:
                return frame
        raise VideoError(f"{self.path}: ends before its frame at {moment:.2f} s can be decoded; is it whole?")

    def _upright(self, frame: Any, side: int) -> Picture:
        """Scaled and converted in one pass, then turned; (h, w, 3) uint8 with the shorter of h and w at ``side``."""
        aspect = self._stream.sample_aspect_ratio or Fraction(1)
        has_alpha = any(component.is_alpha for component in frame.format.components)
        kernel = self._area if min(frame.width, frame.height) > side else self._bicubic
        with self._told("has frames that cannot be converted to RGB"):
            width, height = fit(round(frame.width * aspect), frame.height, side)
            kind = "rgba" if has_alpha else "rgb24"
            pixels = frame.reformat(width=width, height=height, format=kind, interpolation=kernel).to_ndarray()
        if frame.color_trc in HDR and not self.remarks:
            self.remarks.append(f"{self.path}: HDR ({HDR[frame.color_trc]}); its colours come out flat")
        pixels = np.rot90(on_white(pixels) if has_alpha else pixels, frame.rotation // 90)
        turned = frame.rotation % 180 != 0
        size = (frame.height, round(frame.width * aspect)) if turned else (round(frame.width * aspect), frame.height)
        return Picture(np.ascontiguousarray(pixels), size, frame.rotation)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """FFmpeg's errors as one line that names the file."""
        try:
            yield
        except self._errors as error:
            raise VideoError(f"{self.path}: {what} ({getattr(error, 'strerror', None) or error})") from error
