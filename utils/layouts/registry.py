"""The layouts by name, and which of them a folder has.

A new one is a file with ``recognises`` and ``read``, a line here, and a word in config's ``DataFormat``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from utils.layouts import (
    asl_citizen,
    autsl,
    csl_daily,
    how2sign,
    include,
    lsa64,
    pairs,
    phoenix14t,
    table,
    wlasl,
)
from utils.layouts.listing import LayoutError, Listing, Recall


class Layout(Protocol):
    """A module of this package."""

    def recognises(self, folder: Path) -> bool:
        """Whether ``folder`` is laid out so; looks at names and first lines alone."""

    def read(self, folder: Path) -> Listing:
        """All that is listed there, and all that lies there unlisted.

        Raises:
            LayoutError: the list itself is missing or broken.
        """


LAYOUTS: dict[str, Layout] = {  # in the order in which ``auto`` tries them: what could be mistaken comes last
    "phoenix14t": phoenix14t,
    "wlasl": wlasl,
    "asl_citizen": asl_citizen,
    "autsl": autsl,
    "csl_daily": csl_daily,
    "how2sign": how2sign,
    "include": include,
    "table": table,
    "lsa64": lsa64,
    "pairs": pairs,
}


def recognise(folder: Path) -> str:
    """The name of the layout that ``folder`` has; ``pairs`` where no other fits."""
    return next((name for name, layout in LAYOUTS.items() if layout.recognises(folder)), "pairs")


def read_listing(folder: Path, data_format: str = "auto", *, recall: Recall | None = None) -> tuple[str, Listing]:
    """The layout's name and what it lists, in the order of names; ``data_format`` is a key of LAYOUTS, or ``auto``.

    ``recall`` spares reading the captions of pairs, which are a file each.

    Raises:
        LayoutError: no folder, an unknown layout, or a list that is missing or broken.
    """
    if not folder.is_dir():
        raise LayoutError(f"{folder} is no folder; wanted one with clips and their texts")
    if data_format != "auto" and data_format not in LAYOUTS:
        raise LayoutError(f"layout {data_format!r} is unknown; wanted auto, {', '.join(LAYOUTS)}")
    name = recognise(folder) if data_format == "auto" else data_format
    listing = pairs.read(folder, recall) if name == "pairs" and recall else LAYOUTS[name].read(folder)
    listing.rows.sort(key=lambda row: row.name.split("/"))
    return name, listing
