"""methods/evaluation/measures.py: the rows of a report."""

from __future__ import annotations

import pytest

from methods.evaluation import measures
from methods.evaluation.measures import ScoreRow, number
from methods.evaluation.page import render
from methods.evaluation.table import format_report
from tests.evaluation.reports import report, score


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "not measured"), (float("nan"), "not measured"), (float("inf"), "infinite"), (12000, "12,000"),
     (0.38, "0.380"), (100.4, "100"), (0.0, "0.00")],
)  # fmt: skip
def test_numbers_have_three_digits_or_are_whole(value: float | None, words: str):
    assert number(value) == words


def test_a_new_row_of_scores_or_figures_is_one_line_for_page_and_table(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(measures, "SCORES", (*measures.SCORES, ScoreRow("hands.score", "names of hands")))
    monkeypatch.setattr(measures, "FIGURES", (*measures.FIGURES, ("speed of hands", "hands.speed")))
    whole = report()
    whole["parts"]["train"]["hands"] = {"score": score(31), "speed": 2.718}
    for text in (render(whole, []), format_report(whole)):
        for words in ("names of hands", "31/40", "speed of hands", "2.72"):
            assert words in text
