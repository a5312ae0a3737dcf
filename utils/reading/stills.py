"""Animated GIF, WebP and PNG, and folders of PNG or JPEG frames, through Pillow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from utils.gif import DAMAGED, scan
from utils.layouts.listing import FRAME_SUFFIXES
from utils.reading.clip import Picture, fit, middle
from utils.reading.timeline import timeline_of
from utils.reading.whole import check_whole
from utils.video import VideoError

ASSUMED_DELAY = 100  # ms of a frame that gives none, as browsers have it
SHORTEST_DELAY = 20  # ms; browsers show shorter ones for ASSUMED_DELAY
MAX_SIDE, MAX_PIXELS = 8192, 2**25  # of a frame; 7680 x 4320 fits
ASSUMED_RATE = 25.0  # frames per second of a folder that says nothing


class Animation:
    """An animated GIF, WebP or PNG; each frame as a player shows it, for its own time."""

    def __init__(self, path: Path) -> None:
        self.path, self.remarks = path, []

    def __enter__(self) -> Animation:
        try:
            with open(self.path, "rb") as file:
                check_whole(self.path, file)
                is_gif = file.read(4) == b"GIF8"
            outline = scan(self.path, self.path.read_bytes()) if is_gif else None  # it is whole, known without decoding
            self._image = Image.open(self.path)
            width, height = self._image.size
            if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
                raise ValueError(f"{width}x{height} px; wanted at most {MAX_SIDE} a side, {MAX_PIXELS:,} in all")
            self._canvas = (outline.width, outline.height) if outline else (width, height)
            starts, at = [], 0
            for delay in outline.delays if outline else self._delays():
                starts.append(at / 1000)
                at += delay if delay >= SHORTEST_DELAY else ASSUMED_DELAY
        except DAMAGED as error:
            self.__exit__()
            raise VideoError(f"{self.path}: cannot be read as an animation ({error}); is it whole?") from error
        except VideoError:
            self.__exit__()
            raise
        self.timeline = timeline_of(starts, at / 1000 - starts[-1])
        return self

    def _delays(self) -> Iterator[int]:
        """Milliseconds of each frame, 0 where it gives none."""
        for index in range(getattr(self._image, "n_frames", 1)):
            self._image.seek(index)
            if self._image.format == "WEBP":
                self._image.load()  # which alone tells the delay
            yield int(self._image.info.get("duration", 0))

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "_image"):
            self._image.close()

    def pictures(self, indices: list[int], *, side: int, square: bool = False) -> Iterator[Picture]:
        """As ``Source`` has it."""
        for index in indices:
            try:
                self._image.seek(index)
                yield _picture(self._image.convert("RGBA").crop((0, 0, *self._canvas)), side, square=square)
            except DAMAGED as error:
                raise VideoError(f"{self.path}: frame {index + 1} cannot be decoded ({error})") from error


class FrameFolder:
    """A folder of PNG or JPEG frames in the order of the numbers in their names."""

    def __init__(self, path: Path, *, rate: float | None = None, stretch: float = 1.0) -> None:
        """``rate`` in frames per second, None: assumed and said; ``stretch``: height of a pixel over its width."""
        self.path, self.remarks, self._stretch = path, [], stretch
        self._rate = rate or ASSUMED_RATE
        if rate is None:
            self.remarks.append(f"{path}: a folder of frames without a rate, taken for {ASSUMED_RATE:g} a second")

    def __enter__(self) -> FrameFolder:
        try:
            frames = [path for path in self.path.iterdir() if path.suffix.lower() in FRAME_SUFFIXES]
        except OSError as error:
            raise VideoError(f"{self.path}: cannot be read ({error.strerror})") from error
        self._frames = sorted(frames, key=lambda path: (_number(path), path.name))
        if not self._frames:
            raise VideoError(f"{self.path}: no frame; wanted PNG or JPEG files")
        numbers = [_number(path) for path in self._frames]
        missing = numbers[-1] - numbers[0] + 1 - len(set(numbers))
        if missing > 0:
            self.remarks.append(f"{self.path}: {missing} of its frames are missing; the ones before are held")
        apart = len(set(numbers)) == len(numbers)
        at = (
            [(n - numbers[0]) / self._rate for n in numbers] if apart else [i / self._rate for i in range(len(numbers))]
        )
        self.timeline = timeline_of(at, 1 / self._rate)
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def pictures(self, indices: list[int], *, side: int, square: bool = False) -> Iterator[Picture]:
        """As ``Source`` has it."""
        for index in indices:
            path = self._frames[index]
            try:
                with Image.open(path) as image:
                    yield _picture(ImageOps.exif_transpose(image), side, square=square, stretch=self._stretch)
            except DAMAGED as error:
                raise VideoError(f"{path}: cannot be decoded ({error})") from error


def _number(path: Path) -> int:
    """The last number in a file's name; 0 where there is none."""
    found = re.findall(r"\d+", path.stem)
    return int(found[-1]) if found else 0


def _picture(image: Image.Image, side: int, *, square: bool, stretch: float = 1.0) -> Picture:
    """Cut before it is scaled, so that nothing beyond the ``square`` shows in its edge."""
    size = shown = (image.width, round(image.height * stretch))
    if square:
        left, top, right, bottom = middle(*size)
        image = image.crop((left, round(top / stretch), right, round(bottom / stretch)))
        shown = (right - left, bottom - top)
    if image.mode != "RGB":
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    wanted = fit(*shown, side)
    kernel = Image.Resampling.LANCZOS if min(size) > side else Image.Resampling.BICUBIC
    return Picture(np.asarray(image if wanted == image.size else image.resize(wanted, kernel)), size)
