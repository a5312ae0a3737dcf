"""What the rest of the house must know of a backbone: an entry of the registry, declared in the architecture's file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

Shapes = Mapping[str, tuple[int, ...]]  # a backbone's tensors by name
Values = dict[str, Any]  # setting -> value


def block_units(backbone: nn.Module) -> list[list[nn.Module]]:
    """Every block for itself: the members of the outermost lists, lists in lists opened, if they have weights."""
    return [[block] for block in _blocks(backbone)]


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(module, nn.ModuleList) and not isinstance(child, nn.ModuleList):
            if any(True for _ in child.parameters()):
                yield child
        else:
            yield from _blocks(child)


def keep_first_blocks(module: nn.Module) -> None:
    """Of each of the outermost lists the first member alone, in place."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.ModuleList):
            setattr(module, name, child[:1])
        else:
            keep_first_blocks(child)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A backbone and its particulars; the defaults fit one whose blocks stand in lists and run one after the other.

    Args:
        build: ``(config, *, text_width, alphas_cumprod)`` -> the backbone, freshly initialised.
        read: its tensors' shapes -> the model keys that they show; KeyError or ValueError if they are another's.
        units: a backbone -> groups of its modules whose weights are gathered together when it is sharded.
        shorten: leave a backbone the least that takes a step like it, in place: what ``plan`` times. None: all of it.
    """

    build: Callable[..., nn.Module]
    read: Callable[[Shapes], Values]
    units: Callable[[Any], list[list[nn.Module]]] = block_units
    shorten: Callable[[nn.Module], None] | None = keep_first_blocks


def num_members(shapes: Shapes, beginning: str) -> int:
    """How many modules stand in the list ``beginning``."""
    return len({match[1] for name in shapes if (match := re.match(rf"{re.escape(beginning)}\.(\d+)\.", name))})
