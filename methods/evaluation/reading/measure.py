"""Is a generated sentence read as it was asked for? Beside it real ones, and captions that must not fit."""

from __future__ import annotations

from collections.abc import Sequence

from methods.evaluation.part import Part


def wanted(part: Part, captions: Sequence[str]) -> list[tuple[str, ...]]:
    """The signs of each caption, by the spans of the real clips that have it; () where they have none."""
    known = {row.text: tuple(span.sign for span in row.spans) for row in part.data.rows}
    return [known.get(caption, ()) for caption in captions]


def measure_reading(part: Part) -> dict[str, object]:
    """Word error rates, and sentences whose signs are all right and in order; None where no reader was trained."""
    if part.reader is None:
        return {"reading": None}
    of = {
        "real": ([part.reader.read(clip) for clip in part.real], part.texts),
        "generated": (part.readings, part.captions),
    }
    found = {name: part.reader.score(read, wanted(part, captions)) for name, (read, captions) in of.items()}
    ceiling, made = (scores and scores["in_order"]["accuracy"] for scores in (found["real"], found["generated"]))
    return {"reading": {**found, "share_of_ceiling": made / ceiling if ceiling and made is not None else None}}
