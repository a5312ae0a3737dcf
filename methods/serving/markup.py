"""Clips and captions as HTML. The clips lie inside it, so that the server hands out no file."""

from __future__ import annotations

import base64
from html import escape

from methods.sampling.generate import GeneratedClip
from methods.sampling.known_captions import Nearness
from methods.sampling.provenance import file_name


def clips_html(clips: list[GeneratedClip]) -> str:
    """A figure for each clip: it plays, has a text, and can be saved."""
    figures = [_figure(clip, place, len(clips)) for place, clip in enumerate(clips, start=1)]
    return f'<div class="clips">{"".join(figures)}</div>'


def _figure(clip: GeneratedClip, place: int, num_clips: int) -> str:
    facts, data = clip.facts, clip.parts[0]
    source = f"data:video/mp4;base64,{base64.b64encode(data).decode()}"
    side = f'width="{clip.frames.shape[2] * facts.scale}" height="{clip.frames.shape[1] * facts.scale}"'
    name = f"Clip {place} of {num_clips}"
    label = escape(f"{name}, generated for: {facts.prompt}")
    file = escape(file_name(facts, clip.suffix))
    return (
        f'<figure><video controls loop autoplay muted playsinline {side} aria-label="{label}" src="{source}"></video>'
        f'<figcaption>{name}, seed {facts.seed} <a download="{file}" href="{source}" '
        f'aria-label="Download clip {place} as MP4">Download ({len(data) / 1024:.0f} KiB)</a></figcaption></figure>'
    )


def nearness_html(found: Nearness | None) -> str:
    """The nearest training captions, and a warning if they are far; a sentence where nobody kept them."""
    if found is None:
        return "<p>Nearest training captions: unknown, for this checkpoint keeps none.</p>"
    items = "".join(f"<li>{escape(one.caption)} <small>{one.distance:.2f} away</small></li>" for one in found.nearest)
    own = f"Training captions lie at most {found.farthest:.2f} from the nearest other one."
    far = "This prompt resembles nothing that was trained on, so expect nothing of its clips."
    warning = f'<p class="warning" role="note">{far}</p>' if found.is_far else ""
    return f"{warning}<h2>Nearest training captions</h2><ol>{items}</ol><p><small>{own}</small></p>"


def refusal_html(reason: str) -> str:
    """Why there is no clip; a screen reader says it at once."""
    return f'<p class="warning" role="alert">{escape(reason)}</p>'
