"""Ctrl-C and SIGTERM: remembered while training runs, so that the current step ends and what is saved is whole.

One request can arrive twice: a supervisor signals every process of a job, and torchrun hands the same signal on.
"""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType, TracebackType

from tqdm import tqdm

SAME_REQUEST = 2.0  # seconds, within which a signal repeats the first one


class Interruption:
    """Use as a context manager; ``asked`` turns True at the first signal, and a second Ctrl-C does not wait."""

    def __init__(self) -> None:
        self.asked = False
        self._since = 0.0
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Interruption:
        self._previous = {number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _hear(self, signum: int, _: FrameType | None) -> None:
        if self.asked:
            if signum == signal.SIGINT and time.monotonic() - self._since >= SAME_REQUEST:
                raise KeyboardInterrupt
            return  # a supervisor that does not want to wait sends SIGKILL
        self.asked, self._since = True, time.monotonic()
        tqdm.write("\nInterrupted: finishing this step, then saving. Ctrl-C again stops at once.", file=sys.stderr)
