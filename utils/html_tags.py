"""Markup from Python calls: whatever is not markup already is escaped, so that no caption can become a tag."""

from __future__ import annotations

from html import escape

VOID = {"img", "meta"}  # elements without an end tag


class Html(str):
    """Markup, which ``tag`` and ``join`` take as it is; any other string is text."""


def tag(name: str, /, *children: str, **attributes: str | int | float | None) -> Html:
    """One element. ``class_`` gives class, ``stroke_width`` gives stroke-width; an attribute that is None is left out.

    >>> tag("p", "a < b", class_="note")
    '<p class="note">a &lt; b</p>'
    """
    given = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None)
    start = f"<{name}" + "".join(f' {key}="{escape(str(value))}"' for key, value in given) + ">"
    return Html(start if name in VOID else f"{start}{join(*children)}</{name}>")


def join(*children: str, between: str = "") -> Html:
    """Text and markup one behind the other."""
    return Html(between.join(child if isinstance(child, Html) else escape(child) for child in children))
