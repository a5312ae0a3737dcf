"""What a value of a setting may be, and the error that says otherwise. Standard library only."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin


class UserError(Exception):
    """A mistake that the user can mend. ``main`` prints it as one line and exits with code 2."""

    of_this_process = False  # of many; what all of them have, the first alone tells


class ConfigError(UserError):
    """A setting that does not exist, has the wrong type, or lies outside its limits."""


@dataclass(frozen=True)
class Limits:
    """Closed interval that a number must lie in; ``above`` excludes the lower end."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        return (value > self.low if self.above else value >= self.low) and value <= self.high

    def __str__(self) -> str:
        low = f"{'>' if self.above else '>='} {self.low:g}"
        return low if self.high == math.inf else f"{low} and <= {self.high:g}"


def base_type(hint: Any) -> type:
    """The type below a Literal, or one Annotated with its Limits."""
    if get_origin(hint) is Annotated:
        return get_args(hint)[0]
    return type(get_args(hint)[0]) if get_origin(hint) is Literal else hint


def check_value(name: str, value: Any, hint: Any) -> Any:
    """``value`` in the type that ``hint`` asks for: a plain one, a Literal, or one Annotated with its Limits.

    Raises:
        ConfigError: another type, none of the choices, or outside the limits.
    """
    wanted = base_type(hint)
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted:
        raise ConfigError(f"{name}={value!r} is {type(value).__name__}; wanted {wanted.__name__}.")
    if get_origin(hint) is Literal and value not in get_args(hint):
        choices = get_args(hint)
        raise ConfigError(f"{name}={value!r} is unknown.{nearest(value, choices)} Wanted one of: {', '.join(choices)}.")
    if get_origin(hint) is Annotated:
        limits = get_args(hint)[1]
        if value not in limits or (wanted is float and not math.isfinite(value)):
            raise ConfigError(f"{name}={value!r} is outside its limits; wanted {limits}.")
    return value


def nearest(word: str, known: Any) -> str:
    """`` Did you mean X?`` with the one of ``known`` that is spelt most like ``word``; empty if none is."""
    matches = difflib.get_close_matches(str(word).upper(), [str(k).upper() for k in known], n=1, cutoff=0.5)
    by_upper = {str(k).upper(): str(k) for k in known}
    return f" Did you mean {by_upper[matches[0]]}?" if matches else ""
