"""methods/evaluation/table.py: every figure of a report is in the table, and a control that did not fail is loud."""

from __future__ import annotations

from methods.evaluation.table import format_report
from tests.evaluation.test_page import report


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


def test_a_ratio_that_is_not_known_is_left_out_and_trained_on_clips_are_called_so() -> None:
    """Two frames have a motion and no jitter."""
    changed = report()
    changed["parts"]["train"]["motion"]["jitter_ratio"] = None
    changed["parts"]["train"]["recogniser"]["real_trained_on"] = 1.0
    changed["parts"]["held_out"]["recogniser"]["real_trained_on"] = 0.25
    lines = format_report(changed).splitlines()
    assert [("jitter" in line) for line in lines if line.startswith("motion:")] == [False, True]
    assert any(line.startswith("recogniser on real clips (trained on) ") for line in lines)
    assert any(line.startswith("recogniser on real clips (25% trained on) ") for line in lines)


def test_a_control_that_did_not_fail_is_loud_and_withdraws_the_verdict() -> None:
    changed = report()
    changed["controls"][0]["failed"] = False
    text = format_report(changed)
    assert "<-- DID NOT FAIL" in text and "No verdict" in text
