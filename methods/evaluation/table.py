"""An evaluation as the table that ``evaluate`` prints: every figure of the report."""

from __future__ import annotations

from methods.evaluation.measures import (
    ERROR_HEADER,
    HAND_HEADER,
    ORDER_HEADER,
    PART_NAMES,
    SCORE_HEADER,
    Report,
    about_recogniser,
    error_rows,
    figure_rows,
    hand_rows,
    measured_parts,
    order_rows,
    score_cells,
    score_rows,
    why_no_hands,
)
from methods.evaluation.verdict import verdict

NAME_WIDTH = 60  # characters
WIDTHS = (13, 13, 15, 8, 18)
ALIKE = (13,) * 7


def format_report(report: Report) -> str:
    """Every score with its interval and chance, the figures, the controls, and the verdict in a sentence."""
    lines = [f"checkpoint {report['checkpoint']} at step {report['step']:,}; clips from {report['data']}"]
    for name, part in measured_parts(report).items():
        lines += ["", f"{PART_NAMES.get(name, name)}: {part['num_clips']} clips, {part['num_captions']} captions"]
        lines.append(_row("measure", *SCORE_HEADER))
        lines += [_row(measure, *score_cells(score)) for measure, score in score_rows(part)]
        lines += [_row(*row) for row in figure_rows(part)]
        hands = [_row(*row, widths=ALIKE) for row in (HAND_HEADER, *hand_rows(part))]
        lines += ["", *(hands if len(hands) > 1 else [_row("hands", why_no_hands(report))])]
        lines += ["", _row(*ORDER_HEADER, widths=ALIKE)]
        for row, reliable in order_rows(part):
            lines.append(_row(*row, widths=ALIKE) + ("" if reliable else "   <-- UNRELIABLE HERE"))
    lines += ["", about_recogniser(report["recogniser"]), ""]
    lines += [_row(*row, widths=ALIKE) for row in (ERROR_HEADER, *error_rows(report))]
    lines += ["", _row("controls, which must fail", *SCORE_HEADER)]
    for control in report["controls"]:
        where = f"{control['name']}, {PART_NAMES.get(control['part'], control['part'])}: {control['measure']}"
        alarm = "" if control["failed"] else "   <-- DID NOT FAIL"
        lines.append(_row(where, *score_cells(control["score"])) + alarm)
    found = verdict(report)
    return "\n".join([*lines, "", found.headline, *found.remarks])


def _row(name: str, *cells: str, widths: tuple[int, ...] = WIDTHS) -> str:
    line = f"{name:<{NAME_WIDTH}}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=False))
    return line.rstrip()
