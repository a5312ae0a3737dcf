"""An evaluation as the table that ``evaluate`` prints: every figure of the report."""

from __future__ import annotations

from methods.evaluation.measures import (
    ERROR_HEADER,
    PART_NAMES,
    SCORE_HEADER,
    Report,
    about_recogniser,
    error_rows,
    figure_rows,
    measured_parts,
    score_cells,
    score_rows,
)
from methods.evaluation.verdict import verdict

NAME_WIDTH = 60  # characters
WIDTHS = (13, 13, 15, 8, 18)


def format_report(report: Report) -> str:
    """Every score with its interval and chance, the figures, the controls, and the verdict in a sentence."""
    lines = [f"checkpoint {report['checkpoint']} at step {report['step']:,}; clips from {report['data']}"]
    for name, part in measured_parts(report).items():
        lines += ["", f"{PART_NAMES.get(name, name)}: {part['num_clips']} clips, {part['num_captions']} captions"]
        lines.append(_row("measure", *SCORE_HEADER))
        lines += [_row(measure, *score_cells(score)) for measure, score in score_rows(part)]
        lines += [_row(*row) for row in figure_rows(part)]
    lines += ["", about_recogniser(report["recogniser"]), ""]
    lines += [_row(*row) for row in (ERROR_HEADER, *error_rows(report))]
    lines += ["", _row("controls, which must fail", *SCORE_HEADER)]
    for control in report["controls"]:
        where = f"{control['name']}, {PART_NAMES.get(control['part'], control['part'])}: {control['measure']}"
        alarm = "" if control["failed"] else "   <-- DID NOT FAIL"
        lines.append(_row(where, *score_cells(control["score"])) + alarm)
    found = verdict(report)
    return "\n".join([*lines, "", found.headline, *found.remarks])


def _row(name: str, *cells: str) -> str:
    line = f"{name:<{NAME_WIDTH}}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=False))
    return line.rstrip()
