"""Real and generated clips beside each other, as GIFs inside the page, within a budget of clips and bytes."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from methods.evaluation.verdict import PART_NAMES
from methods.sampling.generate import GeneratedClip
from utils.gif import encode_gif
from utils.html_tags import Html, join, tag

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


def clips_section(pairs: list[ClipPair], *, fps: int, max_pairs: int = MAX_PAIRS, max_bytes: int = MAX_BYTES) -> Html:
    """The pairs that fit, those of one part together, and a sentence on what was left out.

    Every pair gets its first generated clip before any gets its second, so large clips cost copies, not captions.
    """
    order = list(_in_turn(pairs))[:max_pairs]
    figures: list[list[Html]] = [[] for _ in order]
    for index, added in _figures_in_rounds(order, fps=fps):
        max_bytes -= sum(map(len, added))
        if max_bytes < 0:
            break
        figures[index] += added
    shown = [(pair, found) for pair, found in zip(order, figures, strict=True) if found]
    groups = []
    for part in dict.fromkeys(pair.part for pair, _ in shown):
        cards = (_card(pair, found) for pair, found in shown if pair.part == part)
        groups += [tag("h3", PART_NAMES.get(part, part)), tag("div", *cards, class_="pairs")]
    return join(*groups, _left_out(len(pairs) - len(shown), len(pairs)))


def _in_turn(pairs: list[ClipPair]) -> Iterator[ClipPair]:
    """One pair of each part, then the next of each, so that no part is cut away by another."""
    parts: dict[str, list[ClipPair]] = {}
    for pair in pairs:
        parts.setdefault(pair.part, []).append(pair)
    for row in zip_longest(*parts.values()):
        yield from (pair for pair in row if pair is not None)


def _figures_in_rounds(pairs: list[ClipPair], *, fps: int) -> Iterator[tuple[int, list[Html]]]:
    """(index of the pair, figures to add): the real clip with the first generated one, later one generated a time."""
    for copy in range(MAX_GENERATED):
        for index, pair in enumerate(pairs):
            added = [] if copy else [_real(pair, fps=fps)] * bool(pair.real)
            if copy < len(pair.generated):
                added.append(_generated(pair, copy, fps=fps))
            if added:
                yield index, added


def _left_out(num: int, num_pairs: int) -> Html:
    if not num_pairs:
        return tag("p", "No clips were given.", class_="dim")
    if not num:
        return tag("p", f"All captions are shown: {num_pairs}.", class_="dim")
    return tag("p", f"Left out to keep the page small: {num} of {num_pairs} captions.", class_="dim")


def _card(pair: ClipPair, figures: list[Html]) -> Html:
    hidden = len(pair.real) + len(pair.generated) - len(figures)
    more = [tag("p", f"{hidden} more not shown", class_="dim")] if hidden else []
    return tag(
        "article", tag("p", pair.caption, class_="name"), tag("div", *figures, class_="row"), *more, class_="pair"
    )


def _real(pair: ClipPair, *, fps: int) -> Html:
    return _figure(pair.real[0], f"real clip of {pair.caption}", Html("real"), fps=fps)


def _generated(pair: ClipPair, copy: int, *, fps: int) -> Html:
    """With what the recogniser said, not by colour alone."""
    name = pair.named[copy] if copy < len(pair.named) else None
    if name is None:
        answer = Html("")
    elif name == pair.sign:
        answer = tag("span", "✓ recognised", class_="answer good")
    else:
        answer = tag("span", f"✗ seen as {name}", class_="answer bad")
    return _figure(pair.generated[copy].frames, f"generated clip of {pair.caption}", join("generated", answer), fps=fps)


def _figure(clip: np.ndarray, description: str, caption: Html, *, fps: int) -> Html:
    data = base64.b64encode(encode_gif(clip, fps=fps)).decode("ascii")
    height, width = clip.shape[1:3]
    image = tag("img", src=f"data:image/gif;base64,{data}", alt=description, width=width, height=height)
    return tag("figure", image, tag("figcaption", caption))
