"""When each frame of a clip is shown, and which frames a clip of another length takes: by time, never by index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utils.video import VideoError

PLAUSIBLE_RATES = (5.0, 120.0)  # frames per second; anything else is worth a remark


@dataclass(frozen=True)
class Timeline:
    """``starts`` (N,) float64, seconds, rising: when each frame appears; the last one is shown until ``end``."""

    starts: np.ndarray
    end: float

    @property
    def frames_per_second(self) -> float:
        """The mean rate by the frames' own times; what a header claims is not asked."""
        if len(self.starts) < 2:
            return 1 / (self.end - float(self.starts[0]))
        return (len(self.starts) - 1) / float(self.starts[-1] - self.starts[0])

    def window(self, start: float, end: float | None) -> tuple[float, float]:
        """The part from ``start`` to ``end`` seconds after the first frame appears (None: to the end), cut at the ends.

        Raises:
            VideoError: nothing of the clip lies in it.
        """
        first = float(self.starts[0])
        left, right = first + max(start, 0.0), self.end if end is None else min(first + end, self.end)
        if right <= left:
            upto = "its end" if end is None else f"{end:g} s"
            raise VideoError(f"{start:g} s to {upto} holds nothing of a clip of {self.end - first:.2f} s")
        return left, right

    def shown_at(self, moments: np.ndarray) -> np.ndarray:
        """The frame on the screen at each of ``moments`` (seconds), (K,) int64: the first before, the last after."""
        return np.clip(np.searchsorted(self.starts, moments, side="right") - 1, 0, len(self.starts) - 1)


def timeline_of(starts: list[float], last_duration: float | None) -> Timeline:
    """Frames that appear at ``starts`` (seconds, in any order; doubles count once).

    ``last_duration``: seconds that the last one is shown, None where unknown: then as long as the others on average.

    Raises:
        VideoError: no frame at all.
    """
    if not starts:
        raise VideoError("no frame; wanted a clip of at least 2")
    rising = np.unique(np.asarray(starts, dtype=np.float64))
    mean = float(rising[-1] - rising[0]) / (len(rising) - 1) if len(rising) > 1 else 0.0
    return Timeline(rising, float(rising[-1]) + (last_duration or mean or 1.0))


def even_moments(left: float, right: float, num_frames: int) -> np.ndarray:
    """The centres of ``num_frames`` equal parts of [left, right): (num_frames,) float64 seconds.

    For a clip of constant rate these are the frames of ``video.frame_indices``.
    """
    return left + (np.arange(num_frames) + 0.5) * (right - left) / num_frames


def spaced_moments(left: float, right: float, num_frames: int, *, rate: float, place: float = 0.5) -> np.ndarray:
    """``num_frames`` moments at ``rate`` a second, from a window that lies at ``place`` in [0, 1] of where it can lie.

    0.5 is the centre. A clip shorter than the window is begun at its start and holds its last frame.
    """
    free = max(right - left - num_frames / rate, 0.0)
    moments = left + free * place + (np.arange(num_frames) + 0.5) / rate
    return np.minimum(moments, right)
