"""From the scores of an evaluation report to plain words: does the model obey its text?

A score counts only above the central 95 % of guessing, and no score counts while a control that must fail does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from methods.evaluation.measures import (
    GENERATED,
    PART_NAMES,
    REAL,
    SCORES,
    Report,
    above_guessing,
    is_harmful,
    is_too_small,
    levels,
    look,
    measured_parts,
    number,
    unreliable,
)

CLIPS_OF = {"train": "training clips", "held_out": "held-out clips", "test": "test clips", "clips": "these clips"}
MOTION = ("amplitude_ratio", "explained")
FROZEN_BELOW = 0.5  # share of the real clips' amplitude; less is said in the verdict
SMEARED_BELOW = 0.9  # of the motion explained; likewise
HANDS_BELOW = 0.8  # of the share of frames in which hands are found after a light blur; likewise
ALIKE_BELOW = 0.3  # of the real clips' spread; likewise

Outcome = Literal["obeys", "partly", "does not", "unknown", "invalid"]


@dataclass(frozen=True)
class Verdict:
    """``outcome`` for the colour, one sentence as the headline, further sentences below it."""

    outcome: Outcome
    headline: str
    remarks: list[str]


def part_outcome(part: Report, ceiling: Report | None = None) -> tuple[Outcome, list[str]]:
    """What the scores of one part say together, and a clause on each.

    Generated clips are judged by retrieval and by the recogniser, if it knows real clips better than guessing does:
    those of the ``ceiling``, which it never saw; where there is none, the part's own.
    """
    can_recognise = above_guessing(ceiling or look(part, REAL.way))
    judges = [row for row in SCORES if row.subject and (row is not GENERATED or can_recognise is not False)]
    scores = {row.subject: look(part, row.way) for row in judges}
    known = {name: above for name, score in scores.items() if (above := above_guessing(score)) is not None}
    clauses = [f"{name} {'beats' if above else 'does not beat'} guessing" for name, above in known.items()]
    small = [name for name, score in scores.items() if score and is_too_small(score)]
    clauses += [f"{name} has too few clips to tell from guessing" for name in small]
    if can_recognise is False:
        clauses.append("the recogniser does not know even real clips, so it is not counted")
    if not known:
        return "unknown", clauses or ["nothing was measured"]
    if all(known.values()):
        return "obeys", clauses
    return ("partly" if any(known.values()) else "does not"), clauses


def verdict(report: Report) -> Verdict:
    """The verdict on all parts and controls; anything may be missing from ``report``."""
    parts = measured_parts(report)
    ceiling = look(report, "recogniser.ceiling")
    found = {name: part_outcome(part, ceiling) for name, part in parts.items()}
    remarks = [f"{PART_NAMES.get(name, name)}: {'; '.join(clauses)}." for name, (_, clauses) in found.items()]
    remarks += [remark for name, part in parts.items() if (remark := _motion_remark(name, part))]
    remarks += [remark for name, part in parts.items() for remark in _likeness_remarks(name, part)]
    remarks += _denoising_remark(report)
    controls = report.get("controls") or []
    passed = [control for control in controls if not control.get("failed")]
    if passed:
        names = ", ".join(str(control.get("name")) for control in passed)
        return Verdict("invalid", f"No verdict: a control that must fail did not ({names}).", remarks)
    nothing = "No control was run, so nothing shows that these measures can fail."
    remarks.append(f"Controls that failed, as they must: {len(controls)}." if controls else nothing)
    return Verdict(*_headline({name: outcome for name, (outcome, _) in found.items()}), remarks)


def _headline(outcomes: dict[str, Outcome]) -> tuple[Outcome, str]:
    judged = {CLIPS_OF.get(name, name): outcome for name, outcome in outcomes.items() if outcome != "unknown"}
    if not judged:
        return "unknown", "No verdict: nothing was measured."
    words = {"obeys": "obeys its text", "partly": "obeys its text in part", "does not": "does not obey its text"}
    if len(set(judged.values())) == 1:
        outcome = next(iter(judged.values()))
        return outcome, f"The model {words[outcome]} on {' and '.join(judged)}."
    each = "; on ".join(f"{name} it {words[outcome]}" for name, outcome in judged.items())
    return "partly", f"On {each}."


def _likeness_remarks(name: str, part: Report) -> list[str]:
    """Hands that are missing, clips that are all the same, measures that cannot tell."""
    where, said = PART_NAMES.get(name, name), []
    found, ceiling = (look(part, f"hands.{step}.found") for step in ("generated", "light_blur"))
    if found is not None and ceiling is not None and found < HANDS_BELOW * ceiling:
        said.append(
            f"{where}: hands are found in {100 * found:.0f} % of the frames in which real clips show one; "
            f"after a blur of 0.5 px in {100 * ceiling:.0f} %."
        )
    if (ratio := look(part, "variety.ratio")) is not None and ratio < ALIKE_BELOW:
        said.append(f"{where}: clips of one caption are nearly the same, {ratio:.2f} of the spread of real ones.")
    if names := unreliable(part):
        said.append(f"{where}: not to be relied on here: {', '.join(names)}.")
    return said


def _denoising_remark(report: Report) -> list[str]:
    """Where the model makes of a nearly clean clip something worse than it was given."""
    worst = max(
        (level for _, level in levels(report.get("denoising")) if is_harmful(level)),
        key=lambda level: level["error"] / level["doing_nothing"], default=None,
    )  # fmt: skip
    if worst is None:
        return []
    times = number(worst["error"] / worst["doing_nothing"])
    mended = worst["refined_error"] <= worst["doing_nothing"]
    return [
        f"The network looks clips up rather than denoising them: at {worst['snr_db']:+.0f} dB of SNR its error is "
        f"{times} times that of doing nothing{'; what x_t knows better makes up for it' if mended else ''}."
    ]


def _motion_remark(name: str, part: Report) -> str | None:
    where, ratio, explained = PART_NAMES.get(name, name), *(look(part, f"motion.{key}") for key in MOTION)
    if ratio is not None and ratio < FROZEN_BELOW:
        return f"{where}: generated clips hardly move ({100 * ratio:.0f} % of the real clips' amplitude)."
    if explained is not None and explained < SMEARED_BELOW:
        return f"{where}: where real clips move, generated ones explain {explained:.2f} of it: look for smeared hands."
    return None
