"""An evaluation as the table that ``evaluate`` prints."""

from __future__ import annotations

from typing import Any

from methods.evaluation.verdict import PART_NAMES, trained_on, verdict

WIDTH = 48  # characters of a measure's name
SHORT = {"prompt ranking": "ranking", "recogniser on generated clips": "recogniser"}


def format_report(report: dict[str, Any]) -> str:
    """Every score with its interval and chance, the controls, the motion, and the verdict in a sentence."""
    head = f"{'measure':<{WIDTH}}{'right':>11}{'share':>8}{'95 % interval':>17}{'chance':>9}{'95 % of guessing':>19}"
    lines = [f"checkpoint {report['checkpoint']} at step {report['step']:,}; clips from {report['data']}"]
    for name, part in report["parts"].items():
        lines += ["", f"{PART_NAMES[name]}: {part['num_clips']} clips, {part['num_captions']} captions", head]
        lines += _part(part)
    lines += ["", _ceiling(report["recogniser"]), "", "controls, which must fail:", head]
    for control in report["controls"]:
        passed = "" if control["failed"] else "   <-- DID NOT FAIL"
        where = f"{PART_NAMES[control['part']]}: {SHORT.get(control['measure'], control['measure'])}"
        lines.append(_row(f"{control['name']}, {where}", control["score"]) + passed)
    found = verdict(report)
    return "\n".join([*lines, "", found.headline, *found.remarks])


def _part(part: dict[str, Any]) -> list[str]:
    heard, distance, motion = part["recogniser"], part["prompt_distance"], part["motion"]
    rows = [("prompt ranking", part["prompt_ranking"])]
    rows += [(f"  at t = {t} alone", score) for t, score in part["prompt_ranking_by_timestep"].items()]
    rows += [
        ("prompt ranking among 4", part["prompt_ranking_4_way"]),
        ("retrieval of generated clips", part["retrieval"]),
        ("recogniser on generated clips", heard["generated"]),
        (f"recogniser on real clips{trained_on(part)}", heard["real"]),
    ]
    lines = [_row(name, score) for name, score in rows if score]
    if heard["share_of_ceiling"] is not None:
        lines.append(f"recogniser, share of its ceiling: {heard['share_of_ceiling']:.2f}")
    lines.append(f"PSNR to the nearest real clip of the caption: {part['retrieval_psnr_db']:.1f} dB")
    if distance:
        ratio = "infinite" if distance["ratio"] is None else f"{distance['ratio']:.2f}"
        lines.append(f"distance between prompts over distance within one: {ratio}")
    if motion["amplitude_ratio"] is not None:
        hand = motion["hand_region_error"]
        error = "" if hand is None else f"; error around the hand {hand:.1f} grey levels"
        jitter = "" if motion["jitter_ratio"] is None else f", jitter {motion['jitter_ratio']:.2f}"
        ratios = f"amplitude {motion['amplitude_ratio']:.2f} of real clips{jitter}"
        lines.append(f"motion: {ratios}{error}")
    return lines


def _ceiling(recogniser: dict[str, Any]) -> str:
    found, trained = recogniser["ceiling"], recogniser["num_training_signs"]
    what = f"recogniser: {recogniser['num_signs']} signs, trained on {trained} real ones ({recogniser['crop']})"
    if not found:
        return f"{what}; ceiling: {recogniser['ceiling_of']}"
    right = f"{found['correct']:g}/{found['num']} = {found['accuracy']:.3f}"
    return f"{what}; ceiling {right} on {recogniser['ceiling_of']}"


def _row(name: str, score: dict[str, Any]) -> str:
    low, high = score["interval_95"]
    guess_low, guess_high = score["chance_95"]
    return (
        f"{name:<{WIDTH}}{round(score['correct'], 1):>7g}/{score['num']:<3}{score['accuracy']:>8.3f}"
        f"{f'{low:.3f}-{high:.3f}':>17}{score['chance']:>9.3f}{f'{guess_low:.3f}-{guess_high:.3f}':>19}"
    )
