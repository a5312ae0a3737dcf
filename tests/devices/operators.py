"""Which operators PyTorch has a kernel of for MPS, read off the table that PyTorch itself is generated from.

``torchgen/packaged/ATen/native/native_functions.yaml`` of the installed torch names for every operator the kernels of
each device. An operator runs on MPS if it has a kernel for MPS, or is composed of others (Composite..., or no table of
kernels at all), or is the functional or out form of a structured one that has. Operators outside this table (views of
the dispatcher, custom ones) are taken to run.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torchgen
import yaml

PICKED_FOR_THE_HOST = "_for_cpu"  # by scaled_dot_product_attention, which picks another on MPS

TABLE = Path(torchgen.__file__).parent / "packaged" / "ATen" / "native" / "native_functions.yaml"


@functools.cache
def _entries() -> dict[str, dict[str, Any]]:
    """``add.Tensor`` -> its entry."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    entries = yaml.load(TABLE.read_text(encoding="utf-8"), Loader=loader)
    return {entry["func"].partition("(")[0]: entry for entry in entries}


@functools.cache
def _devices(name: str) -> frozenset[str]:
    """The keys of the kernels of ``name``; empty where it is made of other operators."""
    entry = _entries().get(name, {})
    if "structured_delegate" in entry:
        return _devices(entry["structured_delegate"])
    keys = entry.get("dispatch", {})
    return frozenset(key.strip() for several in keys for key in several.split(","))


@functools.cache
def has_mps_kernel(func: Any) -> bool:
    """Whether the operator ``func`` (an OpOverload) runs on MPS."""
    namespace, _, name = func.name().partition("::")
    keys = _devices(name)
    if namespace != "aten" or PICKED_FOR_THE_HOST in name or not keys:
        return True
    return any(key == "MPS" or key.startswith("Composite") for key in keys)
