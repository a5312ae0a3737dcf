"""What logging costs: the same training steps of the demo preset with and without it, one after the other in one run.

    python main.py prepare-data --preset demo --languages ase
    python -m benchmarks.logging_cost          # OMP_NUM_THREADS=1 before it where other programs share the cores

Every step is taken twice, once silent and once logged, in changing order, over whole periods of
LOG_DETAILS_EVERY_EPOCHS: so scalars and details are there as often as by default. The share is the time spent in
logging over the time of the silent steps; the ratio of both kinds of steps, which other programs disturb more, stands
beside it. Validation, ranking and previews, which are computed and not only told, are timed once each.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.machine import write_result
from config import make_config
from methods.trainer import Trainer
from methods.training.report import Report
from methods.training.start_report import report_start
from methods.training.step import StepResult
from utils.train_logger import TrainLogger

COMPUTED = {"validation": "VALIDATE_EVERY_EPOCHS", "ranking": "RANK_EVERY_EPOCHS", "previews": "SAMPLE_EVERY_EPOCHS"}


class Timed:
    """A Report that knows how long it was busy."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.seconds = 0.0

    def gradients(self, step: int) -> None:
        self._busy(self._report.gradients, step)

    def after_step(self, result: StepResult, *, seconds: float) -> None:
        self._busy(self._report.after_step, result, seconds=seconds)

    def after_saving(self, step: int) -> None:
        self._busy(self._report.after_saving, step)

    def _busy(self, call: object, *arguments: object, **named: object) -> None:
        start = time.perf_counter()
        call(*arguments, **named)
        self.seconds += time.perf_counter() - start


def step(trainer: Trainer, report: Timed | None) -> float:
    """Seconds of one step, logged where there is a ``report``; the position stays where it was."""
    start = time.perf_counter()
    trainer.report = report
    result = trainer.train_step()
    if report is not None:
        report.after_step(result, seconds=time.perf_counter() - start)
    return time.perf_counter() - start


def main() -> None:
    """Take the steps, print the shares, write ``results/logging_cost.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--periods", type=int, default=2)
    parser.add_argument("--data", default="training_data/ase")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folders = {key: folder for key in ("CHECKPOINT_DIR", "LOG_DIR", "SAMPLE_DIR")}
        config = make_config("demo", {**folders, "DATA_DIR": args.data})
        trainer = Trainer(config)
        trainer.config = quiet = replace(config, **dict.fromkeys(COMPUTED.values(), 0))
        with TrainLogger(Path(folder) / "log") as log:
            start = time.perf_counter()
            report_start(trainer.view(), log)
            report = Report(replace(trainer.view(), first_step=-1), log)  # which tells nothing of the start again
            at_start = time.perf_counter() - start
            timed = Timed(report)
            period = config.LOG_DETAILS_EVERY_EPOCHS * trainer.steps_per_epoch
            seconds = {False: 0.0, True: 0.0}
            for number in range(args.periods * period):
                for logged in (number % 2 == 0, number % 2 == 1):
                    seconds[logged] += step(trainer, timed if logged else None)
                trainer.step += 1
            logging, silent = timed.seconds, seconds[False]
            result = {
                "threads": torch.get_num_threads(),
                "logged_steps": args.periods * period,
                "seconds_per_silent_step": round(silent / (args.periods * period), 4),
                "share": round(logging / silent, 4),
                "ratio_of_step_times": round(seconds[True] / silent, 4),
                "seconds_at_start": round(at_start, 2),
            }
            one = trainer.train_step()
            for name, setting in COMPUTED.items():
                trainer.config = replace(quiet, LOG_DETAILS_EVERY_EPOCHS=0, **{setting: 1})
                timed = Timed(Report(replace(trainer.view(), first_step=-1), log))
                timed.after_step(replace(one, step=trainer.step), seconds=1.0)  # the run stands at the end of an epoch
                timed.after_saving(trainer.step)
                every = getattr(config, setting) * trainer.steps_per_epoch
                share = timed.seconds / (every * result["seconds_per_silent_step"])
                result[name] = {"seconds": round(timed.seconds, 2), "every_steps": every, "share": round(share, 4)}
    path = write_result("logging_cost", f"python -m benchmarks.logging_cost --periods {args.periods}", result)
    for name, value in result.items():
        print(f"{name:<26}{value}")
    print(f"written: {path}")


if __name__ == "__main__":
    main()
