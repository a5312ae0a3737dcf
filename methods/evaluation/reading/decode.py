"""From what each window of a clip looks like to the signs in order, and how many words of it are wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

GAP = float(np.log(0.5))  # of a frame that shows no sign
SIGN = -1.0  # of a sign, so that one is not read as two


class Window(NamedTuple):
    """The frames from ``start`` to before ``end``."""

    start: int
    end: int


def best_reading(
    scores: Mapping[Window, float], num_frames: int, *, gap: float = GAP, sign: float = SIGN
) -> list[Window]:
    """Windows in order, none over another, whose sum is largest: each window's ``scores`` of a frame, times its frames,
    and ``sign``; and ``gap`` of each frame in none. By dynamic programming over the windows' ends."""
    best, last = [0.0], [None]
    ending: dict[int, list[Window]] = {}
    for window in scores:
        ending.setdefault(window.end, []).append(window)
    for end in range(1, num_frames + 1):
        ways = [
            (best[window.start] + (end - window.start) * scores[window] + sign, window)
            for window in ending.get(end, [])
        ]
        value, window = max(ways, default=(-np.inf, None))
        with_gap = best[end - 1] + gap
        best.append(max(value, with_gap))
        last.append(window if value > with_gap else None)
    found, end = [], num_frames
    while end > 0:
        window = last[end]
        if window:
            found.append(window)
        end = window.start if window else end - 1
    return found[::-1]


def word_errors(found: Sequence[str], wanted: Sequence[str]) -> int:
    """The fewest words to put in, leave out or exchange until ``found`` is ``wanted`` (Levenshtein 1966)."""
    row = list(range(len(wanted) + 1))
    for i, one in enumerate(found, start=1):
        before, row[0] = row[0], i
        for j, other in enumerate(wanted, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (one != other))
    return row[-1]
