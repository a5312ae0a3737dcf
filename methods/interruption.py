"""Ctrl-C and SIGTERM: remembered while training runs, so that the current step ends and what is saved is whole."""

from __future__ import annotations

import signal
import sys
from types import FrameType, TracebackType

from tqdm import tqdm


class Interruption:
    """Use as a context manager; ``asked`` turns True at the first signal, and a second one does not wait."""

    def __init__(self) -> None:
        self.asked = False
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Interruption:
        self._previous = {number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _hear(self, signum: int, _: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        tqdm.write("\nInterrupted: finishing this step, then saving. Ctrl-C again stops at once.", file=sys.stderr)
