"""methods/evaluation/verdict.py: from scores to plain words."""

from __future__ import annotations

import pytest

from methods.evaluation.page import render
from methods.evaluation.scores import Score
from methods.evaluation.verdict import verdict
from tests.evaluation.reports import level, report, score


@pytest.mark.parametrize(
    ("train", "held_out", "outcome", "words"),
    [
        (36, 35, "obeys", "The model obeys its text on training clips and held-out clips."),
        (4, 3, "does not", "The model does not obey its text on training clips and held-out clips."),
        (36, 3, "partly", "On training clips it obeys its text; on held-out clips it does not obey its text."),
    ],
)
def test_the_verdict_follows_the_scores(train: int, held_out: int, outcome: str, words: str):
    found = verdict(report(train, held_out))
    assert (found.outcome, found.headline) == (outcome, words)


def test_the_upper_end_of_guessing_is_still_guessing():
    high = round(40 * score(0)["chance_95"][1])
    assert verdict(report(high, high)).outcome == "does not"
    assert verdict(report(high + 1, high + 1)).outcome == "obeys"


def test_one_measure_above_guessing_is_obeying_in_part():
    whole = report()
    for each in whole["parts"].values():
        each["retrieval"] = score(2)
    found = verdict(whole)
    assert found.outcome == "partly" and "retrieval does not beat guessing" in found.remarks[0]


@pytest.mark.parametrize("never_seen", [True, False])
def test_a_recogniser_that_does_not_know_real_clips_is_not_counted(never_seen: bool):
    """What it says of clips that it was trained on is asked for only where there are no others."""
    whole = report()
    whole["recogniser"]["ceiling"] = score(4) if never_seen else None
    for each in whole["parts"].values():
        each["recogniser"] = {"real": score(38 if never_seen else 4), "generated": score(1)}
    found = verdict(whole)
    assert found.outcome == "obeys" and "does not know even real clips" in found.remarks[0]


def test_a_score_that_guessing_may_well_reach_is_neither_above_it_nor_below():
    whole = report()
    for each in whole["parts"].values():
        each["retrieval"] = Score(4, 4, 0.5).to_dict()
    found = verdict(whole)
    assert found.outcome == "obeys" and "retrieval has too few clips to tell from guessing" in found.remarks[0]
    assert "too few to tell" in render(whole, [])
    for each in whole["parts"].values():
        each["prompt_ranking"] = each["recogniser"]["generated"] = Score(1, 1, 0.1).to_dict()
        each["reading"]["generated"]["in_order"] = Score(1, 1, 0.1).to_dict()
    assert verdict(whole).outcome == "unknown"


def test_clips_that_stand_still_are_mentioned():
    whole = report()
    whole["parts"]["train"]["motion"]["amplitude_ratio"] = 0.07
    assert "train: generated clips hardly move (7 % of the real clips' amplitude)." in verdict(whole).remarks
    whole["parts"]["train"]["motion"] |= {"amplitude_ratio": 1.0, "explained": 0.58}
    assert any("explain 0.58 of it: look for smeared hands" in remark for remark in verdict(whole).remarks)


def test_a_model_that_is_worse_than_doing_nothing_at_low_noise_is_called_so():
    whole = report()
    assert not any("doing nothing" in remark for remark in verdict(whole).remarks)
    whole["denoising"] = {"2": level(22.0, 0.0631), "9": level(16.0, 0.05), "10": level(-20.0, 101.0)}
    assert (
        "The network looks clips up rather than denoising them: at +22 dB of SNR its error is 10.0 times that of doing "
        "nothing; what x_t knows better makes up for it."
    ) in verdict(whole).remarks


def test_missing_hands_clips_all_alike_and_measures_that_cannot_tell_are_mentioned():
    whole = report()
    part = whole["parts"]["train"]
    part["hands"]["generated"]["found"], part["variety"]["ratio"] = 0.02, 0.01
    part["order"]["psnr"]["tau"] = 13 / 15
    said = verdict(whole).remarks
    assert "train: hands are found in 2 % of the frames in which real clips show one; " in "".join(said)
    assert "train: clips of one caption are nearly the same, 0.01 of the spread of real ones." in said
    assert "train: not to be relied on here: whole picture, dB PSNR." in said
    assert "✗ unreliable here" in render(whole, []) and "✗ unreliable here" not in render(report(), [])


def test_without_a_control_the_verdict_says_so():
    assert "No control was run" in verdict(report() | {"controls": []}).remarks[-1]
