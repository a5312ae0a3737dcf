"""methods/score_table.py: every figure of a report is in the table, and a control that did not fail is loud."""

from __future__ import annotations

from methods.score_table import format_report
from tests.test_html_report import report


def test_every_part_its_scores_and_the_controls_are_shown() -> None:
    text = format_report(report())
    for words in (
        "prompt ranking",
        "at t =",
        "among 4",
        "retrieval",
        "recogniser on generated clips",
        "PSNR",
        "motion:",
    ):
        assert words in text, words
    assert "DID NOT FAIL" not in text and "controls, which must fail" in text


def test_a_control_that_did_not_fail_is_loud_and_withdraws_the_verdict() -> None:
    changed = report()
    changed["controls"][0]["failed"] = False
    text = format_report(changed)
    assert "<-- DID NOT FAIL" in text and "No verdict" in text
