"""An evaluation report as one HTML page that needs nothing else: no network, no script, clips inside.

The page is ``page.html.j2``, beside this file; here stands what it cannot say itself: curves, and which clips fit.
"""

from __future__ import annotations

import base64
import functools
import math
import platform
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import product, zip_longest
from pathlib import Path

import jinja2
import numpy as np

from methods.evaluation import measures
from methods.evaluation.measures import NOT_MEASURED, PART_NAMES, Report, levels, measured_parts
from methods.evaluation.verdict import verdict
from methods.sampling.generate import GeneratedClip
from utils.gif import encode_gif

PACKAGES = ("torch", "transformers", "numpy", "pillow")
MAX_PAIRS = 64
MAX_GENERATED = 4  # clips of one pair, beside its first real one
MAX_BYTES = 9_000_000  # of all GIFs in the page, as text


@dataclass(frozen=True)
class ClipPair:
    """Clips of one caption, real ones (F, H, W, 3) uint8; ``named`` is what the recogniser called each generated one.

    It is right where that is ``sign``, what the caption asks for. ``named`` is empty where there was no recogniser.
    """

    caption: str
    part: str  # a key of PART_NAMES
    real: list[np.ndarray]
    generated: list[GeneratedClip]
    named: list[str]
    sign: str


@dataclass(frozen=True)
class Picture:
    """A GIF as text; ``named`` is what the recogniser called it, if it was asked."""

    kind: str  # "real" or "generated"
    data: str
    named: str | None = None


@dataclass(frozen=True)
class Card:
    """What the page shows of a pair."""

    pair: ClipPair
    pictures: list[Picture] = field(default_factory=list)

    @property
    def num_hidden(self) -> int:
        return len(self.pair.real) + len(self.pair.generated) - len(self.pictures)


@dataclass(frozen=True)
class Plot:
    """Named curves of (t, y, low, high) over the noise level t: y and the interval that it may lie in, up to ``top``.

    ``band``: the corners (t, y) of what guessing reaches.
    """

    title: str
    note: str
    curves: dict[str, list[tuple[float, ...]]]
    top: float
    band: list[tuple[float, ...]]

    @property
    def ticks(self) -> list[float]:
        """Every noise level that was measured."""
        return sorted({point[0] for curve in self.curves.values() for point in curve})


def render(report: Report, pairs: list[ClipPair], *, fps: int = 8, command: str | None = None) -> str:
    """The page as text; ``command`` is what it says made it.

    Raises:
        VideoError: ``fps`` is outside 1-50.
    """
    shown = cards(pairs, fps=fps)
    return _template().render(
        checkpoint=Path(str(report.get("checkpoint"))).name,
        report=report,
        verdict=verdict(report),
        plots=plots(report),
        cards=shown,
        num_pairs=len(pairs),
        command=command,
        versions=[f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)],
    )


@functools.cache
def _template() -> jinja2.Template:
    """What stands in it is markup; whatever it is given is text, and an error if it is missing."""
    page = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.globals["measures"] = measures
    page.filters |= {"number": measures.number, "said": lambda value: NOT_MEASURED if value is None else value}
    return page.get_template("page.html.j2")


def plots(report: Report) -> list[Plot]:
    """Prompt ranking of each part and the denoising error, by noise level."""
    found = []
    for name, part in measured_parts(report).items():
        scores = levels(part.get("prompt_ranking_by_timestep"))
        curve = [(t, score["accuracy"], *score["interval_95"]) for t, score in scores]
        low, high = ([(t, score["chance_95"][end]) for t, score in scores] for end in (0, 1))
        title, note = f"Prompt ranking, {PART_NAMES.get(name, name)}", "Upright lines: 95 % interval of the share."
        found.append(Plot(title, note, {"share right": curve}, 1.0, [*high, *reversed(low)]))
    errors = levels(report.get("denoising"))
    curves = {
        name: [(t, y, y, y) for t, level in errors if (y := level.get(key)) is not None and math.isfinite(y)]
        for name, key in (("this model", "error"), ("knows only the mean clip", "mean_clip_error"))
    }
    top = max((point[1] for curve in curves.values() for point in curve), default=1.0)
    return [*found, Plot("Denoising error", "Below the dashed line, the model has learned more.", curves, top, [])]


def cards(pairs: list[ClipPair], *, fps: int, max_pairs: int = MAX_PAIRS, max_bytes: int = MAX_BYTES) -> list[Card]:
    """The pairs that fit, one of each part in turn, so that no part is cut away by another.

    Every pair gets its first generated clip before any gets its second, so large clips cost copies, not captions.
    """
    parts: dict[str, list[Card]] = {}
    for pair in pairs:
        parts.setdefault(pair.part, []).append(Card(pair))
    order = [card for row in zip_longest(*parts.values()) for card in row if card][:max_pairs]
    for copy, card in product(range(MAX_GENERATED), order):
        added = _pictures(card.pair, copy, fps=fps)
        max_bytes -= sum(len(picture.data) for picture in added)
        if max_bytes < 0:
            break
        card.pictures.extend(added)
    return [card for card in order if card.pictures]


def _pictures(pair: ClipPair, copy: int, *, fps: int) -> list[Picture]:
    """A generated clip of a pair, the first one with the real clip before it."""
    clips = [("real", clip, None) for clip in pair.real[:1] if copy == 0]
    if copy < len(pair.generated):
        clips.append(("generated", pair.generated[copy].frames, pair.named[copy] if copy < len(pair.named) else None))
    return [Picture(kind, base64.b64encode(encode_gif(clip, fps=fps)).decode(), named) for kind, clip, named in clips]
