"""An evaluation report as one HTML page that needs nothing else: no network, no script, clips inside.

Whatever a report lacks is said to be not measured. Wording and colours: methods/evaluation/verdict.py,
methods/evaluation/page.css.
"""

from __future__ import annotations

import math
import platform
import shlex
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from methods.evaluation.page_clips import ClipPair, clips_section
from methods.evaluation.verdict import PART_NAMES, Report, above_guessing, trained_on, verdict
from utils.files import write_file
from utils.html_tags import Html, join, tag
from utils.svg_plot import Band, Line, line_plot

__all__ = ["ClipPair", "render", "write_html"]

STYLE = Path(__file__).with_name("page.css")
NOT_MEASURED = "not measured"
NO_NETWORK = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
PACKAGES = ("torch", "diffusers", "transformers", "numpy", "pillow")
SCORE_HEADER = ("measure", "beats guessing?", "right", "share", "95 % interval", "chance", "95 % of guessing")
SCORES = (  # key, or keys one inside the other -> name
    (("prompt_ranking",), "prompt ranking, all captions"),
    (("prompt_ranking_4_way",), "prompt ranking, 4 captions"),
    (("retrieval",), "retrieval of generated clips"),
    (("recogniser", "real"), "recogniser on real clips"),
    (("recogniser", "generated"), "recogniser on generated clips"),
)
HOW_TO_READ = (
    (
        "prompt ranking",
        "A real clip is made noisy. Under which caption does the model clean it best? Right if under its own. It shows "
        "whether the text is used at all, at each noise level alone too.",
    ),
    (
        "retrieval",
        "A clip is generated from a caption. Which real clip is nearest in pixels? Right if one of that caption.",
    ),
    (
        "recogniser",
        "A classifier of signs, trained on real clips, names the generated ones. Its score on real clips is the most "
        "that can be expected of it on generated ones; the share of the ceiling is the one over the other.",
    ),
    (
        "95 % interval",
        "The range that holds the true share in 95 of 100 evaluations (Wilson). Clips of one model are not "
        "independent, so the true range is a little wider.",
    ),
    (
        "95 % of guessing",
        "What guessing would score in 95 of 100 evaluations of this size. Only a score above it says anything.",
    ),
    (
        "control",
        "The same measure with its cause taken away, such as shuffled captions. It must fail, or the measure lies.",
    ),
    ("denoising error", "Mean squared error of the clean clip that the model sees in a noisy one, by noise level t."),
    (
        "amplitude",
        "How far pixels move over time, in grey levels. A ratio of 0 is a still picture, 1 is as lively as real.",
    ),
    (
        "jitter",
        "Change of the change over the change, from frame to frame. A ratio above 1 is jerkier than real clips.",
    ),
    ("hand error", "Difference from the nearest real clip of the caption where a hand is, in grey levels of 255."),
    (
        "prompt distance",
        "How far clips of different captions lie apart, over how far clips of one caption do. About 1: the text "
        "changes nothing.",
    ),
)


def write_html(path: Path, report: Report, clips: list[ClipPair], *, fps: int = 8, command: str | None = None) -> Path:
    """Writes the page of ``report``, whole or not at all; ``command`` is what the page says made it. Returns ``path``.

    Raises:
        VideoError: the disk refuses, or ``fps`` is outside 1-50.
    """
    write_file(path, render(report, clips, fps=fps, command=command).encode("utf-8"))
    return Path(path)


def render(report: Report, clips: list[ClipPair], *, fps: int = 8, command: str | None = None) -> str:
    """The page as text."""
    title = f"Does {Path(_text(report.get('checkpoint'))).name} obey its text?"
    parts = {name: part for name, part in (report.get("parts") or {}).items() if part}
    body = [
        _head(title, report),
        _verdict(report),
        tag("h2", "Scores"),
        *(block for name, part in parts.items() for block in _scores(name, part)),
        *([] if parts else [_missing()]),
        _recogniser(report.get("recogniser")),
        tag("h2", "By noise level"),
        tag("div", *_plots(report, parts), class_="plots"),
        tag("h2", "Motion"),
        *(block for name, part in parts.items() for block in _motion(name, part.get("motion"))),
        *([] if parts else [_missing()]),
        tag("h2", "Controls"),
        _controls(report.get("controls") or []),
        tag("h2", "Clips"),
        clips_section(clips, fps=fps),
        tag("h2", "How to read it"),
        _pairs(HOW_TO_READ, class_="long"),
        tag("h2", "How it was made"),
        _made_by(report, command),
    ]
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=NO_NETWORK),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Html(STYLE.read_text(encoding="utf-8"))),
    ]
    return (
        "<!DOCTYPE html>\n" + tag("html", tag("head", *head), tag("body", join(*body, between="\n")), lang="en") + "\n"
    )


def _head(title: str, report: Report) -> Html:
    weights = _text(report.get("weights"))
    initial = report.get("averaged_weights_initial_share")
    if initial is not None:
        weights += f"; {_percent(initial)} of the average is still the initial weights"
    sampling = report.get("sampling") or {}
    facts = (
        ("checkpoint", tag("code", _text(report.get("checkpoint")))),
        ("SHA-256", tag("code", _text(report.get("checkpoint_sha256")))),
        ("step", _number(report.get("step"), ",")),
        ("weights", weights),
        ("data", tag("code", _text(report.get("data")))),
        ("seed", _number(report.get("seed"), "")),
        ("sampling", ", ".join(f"{key} {_text(value)}" for key, value in sampling.items()) or NOT_MEASURED),
    )
    return join(tag("h1", title), _pairs(facts))


def _verdict(report: Report) -> Html:
    found = verdict(report)
    remarks = tag("ul", *(tag("li", remark) for remark in found.remarks))
    return tag("section", tag("p", found.headline), remarks, class_=f"verdict {found.outcome.replace(' ', '-')}")


def _scores(name: str, part: Report) -> list[Html]:
    rows = []
    for keys, label in SCORES:
        score = part
        for key in keys:
            score = (score or {}).get(key)
        label += trained_on(part) if keys == ("recogniser", "real") else ""
        rows.append([label, _above(score), *_score_cells(score)])
    distance = part.get("prompt_distance") or {}
    ratio = "infinite" if distance and distance.get("ratio") is None else _number(distance.get("ratio"), ".2f")
    share = (part.get("recogniser") or {}).get("share_of_ceiling")
    others = (
        ("nearest real clip of the caption", f"{_number(part.get('retrieval_psnr_db'), '.1f')} dB PSNR"),
        ("recogniser's share of its ceiling", _percent(share)),
        (
            "prompt distance",
            f"{ratio} ({_number(distance.get('between'), '.3g')} between captions, "
            f"{_number(distance.get('within'), '.3g')} within one)",
        ),
    )
    counts = [(part.get(f"num_{what}"), what) for what in ("clips", "captions")]
    size = ", ".join(f"{num:,} {what}" for num, what in counts if num is not None)
    measured = [(label, text if NOT_MEASURED not in text else NOT_MEASURED) for label, text in others]
    return [_part_title(name, size), _table(SCORE_HEADER, rows, num_text=2), _pairs(measured)]


def _score_cells(score: Report | None) -> list[str]:
    """right, share, interval, chance, guessing."""
    if not score:
        return 5 * [""]
    return [
        f"{round(score['correct'], 1):g}/{score['num']}",
        _number(score["accuracy"], ".3f"),
        _range(score["interval_95"]),
        _number(score["chance"], ".3f"),
        _range(score["chance_95"]),
    ]


def _above(score: Report | None) -> Html:
    above = above_guessing(score)
    if above is None:
        return tag("span", "too few to tell" if score else NOT_MEASURED, class_="dim")
    return tag("span", "✓ yes" if above else "✗ no", class_="good" if above else "bad")


def _recogniser(about: Report | None) -> Html:
    if not about:
        return tag("p", "No recogniser was used.", class_="dim")
    ceiling = about.get("ceiling")
    text = (
        f"The recogniser knows {_number(about.get('num_signs'), ',')} signs from "
        f"{_number(about.get('num_training_signs'), ',')} clips and looks at the {_text(about.get('crop'))}. Ceiling: "
    )
    text += f"{_score_cells(ceiling)[0]}, {_number(ceiling['accuracy'], '.3f')}" if ceiling else NOT_MEASURED
    text += f" ({about['ceiling_of']})." if about.get("ceiling_of") else "."
    return tag("p", text, f" {about['remark']}" if about.get("remark") else "", class_="dim")


def _plots(report: Report, parts: dict[str, Report]) -> list[Html]:
    figures = [_ranking_plot(name, part.get("prompt_ranking_by_timestep")) for name, part in parts.items()]
    return [*figures, _denoising_plot(report.get("denoising"))]


def _ranking_plot(name: str, by_timestep: Report | None) -> Html:
    title = f"Prompt ranking, {PART_NAMES.get(name, name)}"
    scores = sorted((float(t), score) for t, score in (by_timestep or {}).items() if score)
    if not scores:
        return tag("figure", tag("h3", title), _missing())
    line = Line("share right", [(t, s["accuracy"]) for t, s in scores], [tuple(s["interval_95"]) for _, s in scores])
    band = Band("95 % of guessing", [(t, *s["chance_95"]) for t, s in scores])
    plot = line_plot(
        [line], title=title, x_label="noise level t (right: noisier)", y_label="share", band=band, y_max=1.0
    )
    return tag("figure", tag("h3", title), plot, tag("figcaption", "Upright lines: 95 % interval of the share."))


def _denoising_plot(denoising: Report | None) -> Html:
    title = "Denoising error"
    levels = sorted((float(t), level) for t, level in (denoising or {}).items() if level)
    if not levels:
        return tag("figure", tag("h3", title), _missing())
    lines = [
        Line(label, [(t, level[key]) for t, level in levels if level.get(key) is not None])
        for label, key in (("this model", "error"), ("knows only the mean clip", "mean_clip_error"))
    ]
    plot = line_plot(lines, title=title, x_label="noise level t (right: noisier)", y_label="mean squared error")
    return tag(
        "figure", tag("h3", title), plot, tag("figcaption", "Below the dashed line, the model has learned more.")
    )


def _motion(name: str, motion: Report | None) -> list[Html]:
    if not motion:
        return [_part_title(name, ""), _missing()]
    frozen = motion.get("frozen") or {}
    rows = [
        [
            f"{label}{unit}",
            _number(motion.get(f"{key}_real"), ".3g"),
            _number(motion.get(f"{key}_generated"), ".3g"),
            _number(motion.get(f"{key}_ratio"), ".2f"),
            _number(frozen.get(f"{key}_ratio"), ".2f"),
        ]
        for key, label, unit in (("amplitude", "amplitude", " (grey levels)"), ("jitter", "jitter", ""))
    ]
    errors = (_number(motion.get("hand_region_error"), ".1f"), _number(frozen.get("hand_region_error"), ".1f"))
    clips = "" if motion.get("num_hands") is None else f", {motion['num_hands']} clips"
    rows.append([f"hand error (grey levels{clips})", "", errors[0], "", errors[1]])
    header = ("", "real", "generated", "generated / real", "control: frozen real clips")
    return [_part_title(name, ""), _table(header, rows)]


def _controls(controls: list[Report]) -> Html:
    if not controls:
        return tag("p", "No control was run.", class_="warn loud")
    rows, alarms = [], set()
    for index, control in enumerate(controls):
        failed = bool(control.get("failed"))
        alarms |= set() if failed else {index}
        result = tag("span", "✓ failed, as it must", class_="good") if failed else Html("✗ DID NOT FAIL")
        right, share, _, _, guessing = _score_cells(control.get("score"))
        part = PART_NAMES.get(control.get("part"), _text(control.get("part")))
        rows.append(
            [
                _text(control.get("name")),
                result,
                _text(control.get("measure")),
                part,
                right or NOT_MEASURED,
                share,
                guessing,
            ]
        )
    header = ("control", "result", "measure", "part", "right", "share", "95 % of guessing")
    alarm = "A control that must fail did not. Until that is explained, no score of this page can be trusted."
    said = [tag("p", alarm, class_="bad loud")] if alarms else []
    return join(*said, _table(header, rows, num_text=4, alarms=alarms))


def _made_by(report: Report, command: str | None) -> Html:
    said = command or f"python main.py evaluate --checkpoint {shlex.quote(_text(report.get('checkpoint')))}"
    versions = [f"Text2Sign {_text(report.get('version'))}", f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return join(tag("pre", tag("code", said)), tag("p", ", ".join(versions), class_="dim"))


def _part_title(name: str, remark: str) -> Html:
    return tag("h3", PART_NAMES.get(name, name), tag("span", remark, class_="tag") if remark else "")


def _missing() -> Html:
    return tag("p", NOT_MEASURED.capitalize() + ".", class_="dim")


def _table(
    header: tuple[str, ...], rows: list[list[str]], *, num_text: int = 1, alarms: set[int] | None = None
) -> Html:
    """A table that scrolls by itself where the screen is narrow: ``num_text`` columns of text, then numbers.

    Rows of ``alarms`` are marked.
    """
    head = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in header)))
    lines = (
        tag("tr", *(tag("td", cell) for cell in row), class_="alarm" if index in (alarms or ()) else None)
        for index, row in enumerate(rows)
    )
    return tag("div", tag("table", head, tag("tbody", *lines), class_=f"text-{num_text}"), class_="wide")


def _pairs(pairs: Iterable[tuple[str, str]], *, class_: str | None = None) -> Html:
    return tag("dl", *(join(tag("dt", name), tag("dd", value)) for name, value in pairs), class_=class_)


def _text(value: object) -> str:
    return NOT_MEASURED if value is None else str(value)


def _number(value: float | None, form: str) -> str:
    return NOT_MEASURED if value is None or not math.isfinite(value) else f"{value:{form}}"


def _percent(share: float | None) -> str:
    return NOT_MEASURED if share is None else f"{_number(100 * share, '.2g' if share < 0.1 else '.0f')} %"


def _range(ends: list[float]) -> str:
    return f"{ends[0]:.3f} to {ends[1]:.3f}"
