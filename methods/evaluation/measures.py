"""The rows of a report, once for table, page and verdict: a new measure is one line of SCORES or FIGURES.

A ``way`` leads into a report by its keys, with dots between them. What is None or missing there was not measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Report = Mapping[str, Any]

NOT_MEASURED = "not measured"
PART_NAMES = {"train": "train", "held_out": "held out", "test": "test", "clips": "all clips"}


@dataclass(frozen=True)
class ScoreRow:
    """A share of right answers (scores.py) of a part; ``subject`` is its name in the verdict, None if it has no say."""

    way: str
    name: str
    subject: str | None = None


REAL = ScoreRow("recogniser.real", "recogniser on real clips")
GENERATED = ScoreRow("recogniser.generated", "recogniser on generated clips", "the recogniser")
SCORES = (
    ScoreRow("prompt_ranking", "prompt ranking, all captions", "prompt ranking"),
    ScoreRow("prompt_ranking_4_way", "prompt ranking, 4 captions"),
    ScoreRow("retrieval", "retrieval of generated clips", "retrieval"),
    REAL,
    GENERATED,
    ScoreRow("reading.real.in_order", "real sentences read right, in order"),
    ScoreRow("reading.generated.in_order", "generated sentences read right, in order", "reading"),
)

SCORE_HEADER = ("right", "share", "95 % interval", "chance", "95 % of guessing")
ERROR_HEADER = ("denoising error; mean clip: 1", "network", "with x_t", "mean clip", "best linear", "x_t itself")
ERRORS = ("error", "refined_error", "mean_clip_error", "linear_error", "doing_nothing")
FIGURES = (
    ("recogniser's share of its ceiling", "recogniser.share_of_ceiling"),
    ("word error rate, real sentences", "reading.real.word_error_rate"),
    ("word error rate, generated sentences", "reading.generated.word_error_rate"),
    ("sentences in order, share of the real ones'", "reading.share_of_ceiling"),
    ("whole picture against the nearest real clip, dB PSNR", "retrieval_psnr_db"),
    ("the same, SSIM", "motion.ssim"),
    ("generated clips of these two", "motion.num_pairs"),
    ("real clip against the nearest other of its caption, dB PSNR", "motion.psnr_real_again"),
    ("the same, SSIM", "motion.ssim_real_again"),
    ("real clips of these two", "motion.num_real_again"),
    ("temporal consistency: SSIM of neighbouring frames, generated", "motion.consistency"),
    ("the same, real clips", "motion.consistency_real"),
    ("distance between captions, grey levels", "prompt_distance.between"),
    ("distance within a caption, grey levels", "prompt_distance.within"),
    ("prompt distance: the one over the other", "prompt_distance.ratio"),
    ("amplitude of motion, generated clips, grey levels", "motion.amplitude_generated"),
    ("amplitude of motion, real clips, grey levels", "motion.amplitude_real"),
    ("amplitude of motion: the one over the other", "motion.amplitude_ratio"),
    ("moving pixels, dB PSNR", "motion.moving_psnr"),
    ("the same of frozen real clips", "motion.moving_psnr_frozen"),
    ("the same of real clips, lightly blurred", "motion.moving_psnr_blurred"),
    ("motion explained, mean of clips", "motion.explained"),
    ("motion explained, worst clip", "motion.explained_worst"),
    ("the same of real clips, lightly blurred, mean", "motion.explained_blurred"),
    ("variety: captions with several real clips", "variety.num_captions"),
    ("variety: spread of generated clips, grey levels", "variety.spread_generated"),
    ("variety: spread of real clips, grey levels", "variety.spread_real"),
    ("variety: the one over the other", "variety.ratio"),
    ("variety: precision", "variety.precision"),
    ("variety: recall", "variety.recall"),
)  # name, way
CEILING = (  # of a model in latents
    ("moving pixels of real clips, encoded and decoded, dB PSNR", "autoencoder.moving_psnr"),
    ("motion explained by these, mean of clips", "autoencoder.explained"),
    ("motion explained by these, worst clip", "autoencoder.explained_worst"),
)
GIVEN = (
    *CEILING,
    ("FVD of generated clips (--fvd_weights)", "fvd.generated"),
    ("generated clips of these", "fvd.num_generated"),
    ("real clips of these", "fvd.num_real"),
    ("FVD of two halves of the real clips", "fvd.real"),
    ("real clips of each half", "fvd.num_real_halves"),
    ("back translation of generated clips (--translator), BLEU", "back_translation.bleu"),
    ("generated clips of these", "back_translation.num_generated"),
    ("back translation of real clips, BLEU", "back_translation.bleu_real"),
    ("real clips of these", "back_translation.num_real"),
)  # likewise, of a model in latents, or by a file or command that the user gave: told where they were measured

HAND_HEADER = ("hands", "found", "PCK 0.2", "distance", "nDTW", "of frames")
HAND_KEYS = ("found", "pck", "distance", "ndtw", "num_frames")
STEP_NAMES = {
    "generated": "generated clips", "real_again": "another real clip of the caption",
    "decoded": "real, encoded and decoded", "real": "real clips themselves",
    "light_blur": "real, blurred by 0.5 px", "heavy_blur": "real, blurred by 1 px", "frozen": "real, frozen",
    "another_sign": "another sign", "noise": "noise",
}  # fmt: skip
STEPS = tuple(STEP_NAMES)[3:]  # each worse than the one before
ORDER_HEADER = ("does the measure fall?", *("real blur.5 blur1 frozen other noise".split()), "tau")
ORDER_NAMES = {
    "psnr": "whole picture, dB PSNR", "ssim": "whole picture, SSIM", "moving_psnr": "moving pixels, dB PSNR",
    "motion_explained": "motion explained", "hands_found": "hands found", "hands_pck": "hands, PCK 0.2",
    "hands_ndtw": "hands, nDTW, which must rise",
}  # fmt: skip
RELIABLE = 0.9  # of Kendall's tau, at least


def look(report: Report | None, way: str) -> Any:
    """What stands at the end of ``way``."""
    found: Any = report
    for key in way.split("."):
        found = (found or {}).get(key)
    return found


def number(value: float | None) -> str:
    """A whole number, or three digits of another, or that it was not measured."""
    if value is None or math.isnan(value):
        return NOT_MEASURED
    if math.isinf(value):
        return "infinite"
    return f"{value:,}" if isinstance(value, int) else f"{value:#.3g}".rstrip(".")


def measured_parts(report: Report) -> dict[str, Report]:
    """The parts that were measured, by name."""
    return {name: part for name, part in (report.get("parts") or {}).items() if part}


def score_rows(part: Report) -> list[tuple[str, Report | None]]:
    """(name, score) of every measure of a part, also of those that were not taken, and of each noise level."""
    seen = look(part, "recogniser.real_trained_on") or 0.0
    remark = "" if not seen else " (trained on)" if seen == 1.0 else f" ({seen:.0%} trained on)"
    rows = [(row.name + (remark if row is REAL else ""), look(part, row.way)) for row in SCORES]
    by_level = levels(part.get("prompt_ranking_by_timestep"))
    return rows + [(f"prompt ranking at t = {t} alone", score) for t, score in by_level]


def score_cells(score: Report | None) -> list[str]:
    """A score under SCORE_HEADER."""
    if not score:
        return [NOT_MEASURED] + [""] * (len(SCORE_HEADER) - 1)
    right = f"{round(score['correct'], 1):g}/{score['num']}"
    interval, guessing = (f"{low:.3f}-{high:.3f}" for low, high in (score["interval_95"], score["chance_95"]))
    return [right, f"{score['accuracy']:.3f}", interval, f"{score['chance']:.3f}", guessing]


def figure_rows(part: Report) -> list[tuple[str, str]]:
    """(name, number) of every figure of a part; of GIVEN those of what was given."""
    given = [(name, way) for name, way in GIVEN if part.get(way.partition(".")[0])]
    return [(name, number(look(part, way))) for name, way in (*FIGURES, *given)]


def hand_rows(part: Report) -> list[list[str]]:
    """(whose hands, numbers) under HAND_HEADER; none where they were not measured."""
    found = part.get("hands") or {}
    return [
        [name, *(number(look(found, f"{step}.{key}")) for key in HAND_KEYS)]
        for step, name in STEP_NAMES.items()
        if found and (step != "decoded" or step in found)
    ]


def why_no_hands(report: Report) -> str:
    """Why a part has no ``hand_rows``."""
    if report.get("pose_extra"):
        return "not measured: no hand is found in the real clips"
    return "not measured: MediaPipe is not installed (requirements-pose.txt)"


def order_rows(part: Report) -> list[tuple[list[str], bool]]:
    """(measure, its values down the steps, tau) under ORDER_HEADER, and whether the measure can be relied on."""
    found = {**(part.get("order") or {}), **(part.get("hands_order") or {})}
    return [
        ([ORDER_NAMES[name], *(number(values.get(key)) for key in (*STEPS, "tau"))], is_reliable(values))
        for name, values in found.items()
        if values
    ]


def is_reliable(values: Report) -> bool:
    """Whether a measure falls along clips that are ever worse."""
    return (values.get("tau") or 0.0) >= RELIABLE


def unreliable(part: Report) -> list[str]:
    """The measures that do not tell good from bad on the clips of this part."""
    return [row[0] for row, reliable in order_rows(part) if not reliable]


def error_rows(report: Report) -> list[list[str]]:
    """(noise level, five numbers) under ERROR_HEADER."""
    return [
        [f"at t = {t}, SNR {number(level.get('snr_db'))} dB", *(number(level.get(key)) for key in ERRORS)]
        for t, level in levels(report.get("denoising"))
    ]


def is_harmful(level: Report) -> bool:
    """Whether the model makes of a clip with less noise than signal something worse than it was given."""
    error, nothing = (level.get(key) for key in ("error", "doing_nothing"))
    return None not in (error, nothing) and level.get("snr_db", 0.0) > 0 and error > nothing


def levels(by_timestep: Report | None) -> list[tuple[int, Report]]:
    """(noise level t, what was measured there), rising."""
    return sorted((int(t), found) for t, found in (by_timestep or {}).items() if found)


def above_guessing(score: Report | None) -> bool | None:
    """Whether a score lies above the central 95 % of guessing; None where it was not measured or ``is_too_small``."""
    return None if not score or is_too_small(score) else score["accuracy"] > score["chance_95"][1]


def is_too_small(score: Report) -> bool:
    """Whether guessing alone may well get everything right, so that no answers could stand out."""
    return score["chance_95"][1] >= 1.0


def about_recogniser(recogniser: Report | None) -> str:
    """What the recogniser knows, and the most that can be expected of it."""
    if not recogniser:
        return "No recogniser was used."
    signs, clips = (number(recogniser.get(f"num_{what}signs")) for what in ("", "training_"))
    score = recogniser.get("ceiling")
    ceiling = f"{score_cells(score)[0]} = {score['accuracy']:.3f} on " if score else ""
    crop, ceiling_of = (recogniser.get(key) or NOT_MEASURED for key in ("crop", "ceiling_of"))
    known = f"The recogniser knows {signs} signs from {clips} clips and looks at the {crop}"
    return f"{known}; ceiling: {ceiling}{ceiling_of}."
