"""methods/evaluation/table.py: every figure of a report is in the table, and a control that did not fail is loud."""

from __future__ import annotations

import re

from methods.evaluation.measures import NOT_MEASURED, number
from methods.evaluation.table import format_report
from tests.evaluation.reports import report


def figures(report: object) -> list[set[str]]:
    """Every number in a report, as any of the forms that the table has for it."""
    if isinstance(report, dict | list):
        inner = report.values() if isinstance(report, dict) else report
        return [text for each in inner for text in figures(each)]
    is_number = isinstance(report, int | float) and not isinstance(report, bool)
    size = abs(report) if is_number else 0  # signs go with the hyphens
    return [{number(size), f"{size:.3f}", f"{size:g}"}] if is_number else []


def test_every_figure_of_a_report_is_in_the_table() -> None:
    whole = report()
    found = figures({key: whole[key] for key in ("step", "denoising", "parts", "recogniser", "controls")})
    words = {word.strip(".,:;") for word in re.split(r"[\s/-]+", format_report(whole))}
    assert len(found) > 150 and [forms for forms in found if not forms & words] == []


def test_trained_on_clips_are_called_so_and_what_was_not_measured_too() -> None:
    """Real clips that stand still have no motion to explain."""
    changed = report()
    changed["parts"]["train"]["motion"]["explained"] = None
    changed["parts"]["train"]["recogniser"]["real_trained_on"] = 1.0
    changed["parts"]["held_out"]["recogniser"]["real_trained_on"] = 0.25
    lines = format_report(changed).splitlines()
    assert [NOT_MEASURED in line for line in lines if line.startswith("motion explained, mean")] == [True, False]
    assert any(line.startswith("recogniser on real clips (trained on) ") for line in lines)
    assert any(line.startswith("recogniser on real clips (25% trained on) ") for line in lines)


def test_a_control_that_did_not_fail_is_loud_and_withdraws_the_verdict() -> None:
    changed = report()
    changed["controls"][0]["failed"] = False
    text = format_report(changed)
    assert "<-- DID NOT FAIL" in text and "No verdict" in text
