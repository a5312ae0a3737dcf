"""A line plot as inline SVG: axes, labels, one band, a few lines. Colours are classes, which the page's style decides.

Classes: ``line-0``, ``line-1``, ... for the lines, ``band``, ``axis`` and ``grid``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from utils.html_tags import Html, join, tag

WIDTH, HEIGHT = 420, 270  # of the drawing, in its own units: about the px of a phone
LEFT, RIGHT, TOP, BOTTOM = 48, 10, 34, 44  # margins around the axes
MAX_X_TICKS = 10

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A named line through ``points`` (x, y). ``whiskers`` (lowest, highest y) stand at the points, in their order."""

    name: str
    points: list[Point]
    whiskers: list[Point] | None = None


@dataclass(frozen=True)
class Band:
    """A named area between ``low`` and ``high`` at each (x, low, high)."""

    name: str
    edges: list[tuple[float, float, float]]


@dataclass(frozen=True)
class Axes:
    """From values to places in the drawing."""

    x_range: Point
    y_range: Point

    def x(self, value: float) -> float:
        low, high = self.x_range
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low), 1)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low), 1)


def line_plot(
    lines: list[Line], *, title: str, x_label: str, y_label: str, band: Band | None = None, y_max: float | None = None
) -> Html:
    """An <svg> of ``lines`` over ``band``; y begins at 0 and ends at ``y_max`` or above the highest value.

    ``title`` is what a screen reader says. Values that are no number are left out.
    """
    lines = [_finite(line) for line in lines]
    xs = sorted({x for line in lines for x, _ in line.points})
    highest = y_max or max((y for line in lines for _, y in line.points), default=1.0)
    step = tick_step(highest)
    top = y_max or step * math.ceil(highest / step - 1e-9)
    apart = (xs[-1] - xs[0]) * 0.05 or 1.0 if xs else 1.0
    axes = Axes((xs[0] - apart, xs[-1] + apart) if xs else (0.0, 1.0), (0.0, top or 1.0))
    parts = [tag("title", title), _grid(axes, step), _x_ticks(axes, xs), _labels(x_label, y_label)]
    if band and band.edges:
        parts.append(_band(axes, band))
    parts += [_line(axes, line, index) for index, line in enumerate(lines)]
    parts.append(_legend([(line.name, f"line-{i}") for i, line in enumerate(lines)], band))
    return tag("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", class_="plot")


def tick_step(highest: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that gives at least four steps up to ``highest``."""
    if not highest > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest / 4))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= highest / 4 * (1 + 1e-9))


def _finite(line: Line) -> Line:
    kept = [i for i, (_, y) in enumerate(line.points) if math.isfinite(y)]
    whiskers = [line.whiskers[i] for i in kept] if line.whiskers else None
    return Line(line.name, [line.points[i] for i in kept], whiskers)


def _grid(axes: Axes, step: float) -> Html:
    parts = []
    for index in range(round(axes.y_range[1] / step) + 1):
        y = axes.y(index * step)
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="axis" if index == 0 else "grid"))
        parts.append(tag("text", f"{index * step:.3g}", x=LEFT - 6, y=y + 4, text_anchor="end"))
    return join(*parts)


def _x_ticks(axes: Axes, xs: list[float]) -> Html:
    shown = xs[:: max(1, -(-len(xs) // MAX_X_TICKS))]
    y = HEIGHT - BOTTOM
    marks = [tag("line", x1=axes.x(x), x2=axes.x(x), y1=y, y2=y + 4, class_="axis") for x in shown]
    return join(*marks, *(tag("text", f"{x:g}", x=axes.x(x), y=y + 17, text_anchor="middle") for x in shown))


def _labels(x_label: str, y_label: str) -> Html:
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return join(
        tag("text", x_label, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 8, text_anchor="middle"),
        tag("text", y_label, x=12, y=middle, text_anchor="middle", transform=f"rotate(-90 12 {middle})"),
    )


def _band(axes: Axes, band: Band) -> Html:
    """The area, held to both ends of the x axis."""
    edges = sorted(band.edges)
    edges = [(axes.x_range[0], *edges[0][1:]), *edges, (axes.x_range[1], *edges[-1][1:])]
    above = [(x, high) for x, _, high in edges]
    below = [(x, low) for x, low, _ in reversed(edges)]
    return tag("polygon", points=_path(axes, above + below), class_="band")


def _line(axes: Axes, line: Line, index: int) -> Html:
    name = f"line-{index}"
    parts = [tag("polyline", points=_path(axes, line.points), class_=name)]
    for (x, _), (low, high) in zip(line.points, line.whiskers or [], strict=False):
        parts.append(tag("line", x1=axes.x(x), x2=axes.x(x), y1=axes.y(low), y2=axes.y(high), class_=f"{name} whisker"))
    parts += [tag("circle", cx=axes.x(x), cy=axes.y(y), r=3, class_=f"{name} dot") for x, y in line.points]
    return join(*parts)


def _path(axes: Axes, points: list[Point]) -> str:
    return " ".join(f"{axes.x(x)},{axes.y(y)}" for x, y in points)


def _legend(lines: list[tuple[str, str]], band: Band | None) -> Html:
    """Names above the axes, each behind a sample of its line; 7 units a letter is wide enough."""
    parts, at = [], float(LEFT)
    for name, kind in [*lines, *([(band.name, "band")] if band else [])]:
        sample = (
            tag("rect", x=at, y=10, width=18, height=10, class_=kind)
            if kind == "band"
            else tag("line", x1=at, x2=at + 18, y1=15, y2=15, class_=kind)
        )
        parts += [sample, tag("text", name, x=at + 23, y=19)]
        at += 40 + 6.2 * len(name)
    return join(*parts)
