"""One start of training with a clock on its parts; ``benchmarks/startup.py`` runs it in a process of its own.

    python -m benchmarks.startup_child MARKS.json STARTED train --preset demo

STARTED is ``time.time()`` just before the process began. Ends where the second training step would begin. Only the
standard library is imported beside what training imports, so that nothing is warmed for it.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FIRST_STEP_ENDS = "first step ends"  # a mark, and a line on stderr

PARTS = {  # name -> where the call is found; what one part imports is its own
    "clips": "methods.trainer.load_dataset",
    "text encoder": "methods.trainer.TextEncoder",
    "captions": "models.text_encoder.TextEncoder.encode",
    "model": "methods.trainer.create_text2sign",
    "optimiser": "methods.trainer.make_optimizer",
    "log's files": "utils.train_logger.TrainLogger.__init__",
    "graph": "utils.train_logger.TrainLogger.graph",
}


class Clock:
    """Seconds on the wall and of the processor since the process began, at ``marks`` and spent in ``parts``."""

    def __init__(self, started: float) -> None:
        self._started = started
        self.marks: dict[str, dict[str, float]] = {}
        self.parts: dict[str, dict[str, float]] = {}

    def now(self) -> tuple[float, float]:
        return time.time() - self._started, time.process_time()

    def mark(self, name: str) -> None:
        wall, processor = self.now()
        self.marks[name] = {"wall": round(wall, 3), "processor": round(processor, 3)}

    def timed(self, name: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        """``inner`` with its time added to the part ``name``."""

        def outer(*arguments: Any, **named: Any) -> Any:
            before = self.now()
            try:
                return inner(*arguments, **named)
            finally:
                spent = self.parts.setdefault(name, {"wall": 0.0, "processor": 0.0})
                for kind, start, end in zip(("wall", "processor"), before, self.now(), strict=True):
                    spent[kind] = round(spent[kind] + end - start, 3)

        return outer


def holder(path: str) -> tuple[Any, str]:
    """``"package.module.Class.name"`` -> the module or class, and the name in it."""
    parts = path.split(".")
    length = next(n for n in range(len(parts) - 1, 0, -1) if Path(*parts[:n]).with_suffix(".py").is_file())
    owner = importlib.import_module(".".join(parts[:length]))
    for name in parts[length:-1]:
        owner = getattr(owner, name)
    return owner, parts[-1]


def main() -> None:
    """Import, wrap, train one step, write the marks."""
    path, clock, arguments = Path(sys.argv[1]), Clock(float(sys.argv[2])), sys.argv[3:]
    clock.mark("interpreter")
    program = runpy.run_path("main.py", run_name="program")
    clock.mark("command line")
    from methods.trainer import Trainer

    clock.mark("imports")
    for name, where in PARTS.items():
        owner, attribute = holder(where)
        setattr(owner, attribute, clock.timed(name, getattr(owner, attribute)))
    step = Trainer.train_step

    def train_step(trainer: Trainer) -> object:
        if FIRST_STEP_ENDS in clock.marks:
            clock.mark("second step begins")
            path.write_text(json.dumps({"marks": clock.marks, "parts": clock.parts}))
            sys.stderr.flush()
            os._exit(0)
        clock.mark("first step begins")
        found = step(trainer)
        clock.mark(FIRST_STEP_ENDS)
        print(f"\n{FIRST_STEP_ENDS}", file=sys.stderr, flush=True)
        return found

    Trainer.train_step = train_step
    sys.exit(program["main"](arguments))


if __name__ == "__main__":
    main()
