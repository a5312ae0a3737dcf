"""An evaluation as the table that ``evaluate`` prints: every figure of the report."""

from __future__ import annotations

from collections.abc import Iterable

from methods.evaluation.measures import (
    FIGURE_HEADER,
    PART_NAMES,
    SCORE_HEADER,
    Report,
    about_recogniser,
    figure_rows,
    levels,
    measured_parts,
    number,
    score_cells,
    score_rows,
)
from methods.evaluation.verdict import verdict

NAME_WIDTH = 60  # characters
SCORE_WIDTHS, FIGURE_WIDTHS = (13, 8, 15, 8, 18), (13, 13, 18, 19)


def format_report(report: Report) -> str:
    """Every score with its interval and chance, the figures, the controls, and the verdict in a sentence."""
    lines = [f"checkpoint {report['checkpoint']} at step {report['step']:,}; clips from {report['data']}"]
    for name, part in measured_parts(report).items():
        lines += ["", f"{PART_NAMES.get(name, name)}: {part['num_clips']} clips, {part['num_captions']} captions"]
        lines += _part(part)
    lines += [
        "",
        about_recogniser(report["recogniser"]),
        "",
        _row("denoising error", ("this model", "mean clip"), FIGURE_WIDTHS),
    ]
    for t, level in levels(report["denoising"]):
        errors = number(level["error"]), number(level["mean_clip_error"])
        lines.append(_row(f"  at t = {t}", errors, FIGURE_WIDTHS))
    lines += ["", _row("controls, which must fail", SCORE_HEADER)]
    for control in report["controls"]:
        where = f"{control['name']}, {PART_NAMES.get(control['part'], control['part'])}: {control['measure']}"
        alarm = "" if control["failed"] else "   <-- DID NOT FAIL"
        lines.append(_row(where, score_cells(control["score"])) + alarm)
    found = verdict(report)
    return "\n".join([*lines, "", found.headline, *found.remarks])


def _part(part: Report) -> list[str]:
    lines = [_row("measure", SCORE_HEADER)]
    lines += [_row(name, score_cells(score)) for name, score in score_rows(part)]
    by_level = levels(part["prompt_ranking_by_timestep"])
    lines += [_row(f"  prompt ranking at t = {t} alone", score_cells(score)) for t, score in by_level]
    lines.append(_row("figure", FIGURE_HEADER, FIGURE_WIDTHS))
    return lines + [_row(name, cells, FIGURE_WIDTHS) for name, *cells in figure_rows(part)]


def _row(name: str, cells: Iterable[str], widths: tuple[int, ...] = SCORE_WIDTHS) -> str:
    line = f"{name:<{NAME_WIDTH}}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=False))
    return line.rstrip()
