"""An evaluation report as one HTML page that needs nothing else: no network, no script, clips inside.

The page is ``page.html.j2``, beside this file.
"""

from __future__ import annotations

import base64
import functools
import platform
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import jinja2
import numpy as np

from methods.evaluation import measures
from methods.evaluation.measures import NOT_MEASURED, Report
from methods.evaluation.verdict import verdict
from methods.sampling.generate import GeneratedClip

PACKAGES = ("torch", "transformers", "numpy", "pillow", "av")
MIME = {"gif": "image/gif", "webp": "image/webp", "mp4": "video/mp4"}  # form of a clip -> what a browser calls it
MAX_PAIRS = 32  # of each part
MAX_GENERATED = 2  # clips of a pair, beside its real one


@dataclass(frozen=True)
class ClipPair:
    """Clips of one caption, (F, H, W, 3) uint8; ``named`` is what the recogniser called each generated one.

    It is right where that is ``sign``, what the caption asks for. ``named`` is empty where there was no recogniser.
    """

    caption: str
    part: str  # a key of PART_NAMES
    real: np.ndarray
    generated: list[GeneratedClip]
    named: list[str]
    sign: str

    def real_file(self) -> bytes:
        """The real clip, written as the generated ones are."""
        return replace(self.generated[0], frames=self.real).encode("")[0]


def render(report: Report, pairs: list[ClipPair], *, command: str | None = None) -> str:
    """The page as text; ``command`` is what it says made it."""
    return _template().render(
        checkpoint=Path(str(report.get("checkpoint"))).name,
        report=report,
        verdict=verdict(report),
        pairs=pairs,
        max_pairs=MAX_PAIRS,
        max_generated=MAX_GENERATED,
        address=_as_address,
        command=command,
        versions=[f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)],
    )


def _as_address(file: bytes, form: str) -> str:
    return f"data:{MIME[form]};base64,{base64.b64encode(file).decode()}"


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
