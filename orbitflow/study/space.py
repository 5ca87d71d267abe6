"""The space that a search draws from: for each key some choices, or a range.

uniform: low + u (high - low);  log: exp(log low + u (log high - log low)), 0 <= u < 1. Whole
numbers are drawn from half a step below `low` to half a step above `high` and rounded, so that in
a uniform range all are equally likely. Other numbers keep six significant digits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from orbitflow.errors import UserError
from orbitflow.policy.registry import expand
from orbitflow.study.grid import Axis, Cell
from orbitflow.study.keys import POLICY, Value, key_of, kind_of, read_value

_DOTS, _LOG = "..", ":log"
_DIGITS = 6


class Choices(NamedTuple):
    """Some values, in no order."""

    values: tuple[Value, ...]

    @property
    def size(self) -> int:
        """How many values there are."""
        return len(self.values)

    def at(self, share: float) -> Value:
        """The value at a share 0 <= share < 1 of the way."""
        return self.values[int(share * len(self.values))]

    @property
    def extremes(self) -> tuple[Value, ...]:
        """The values that say whether all are allowed: every one."""
        return self.values

    def to_json(self) -> dict[str, object]:
        """What is written down."""
        return {"choices": list(self.values)}


class Range(NamedTuple):
    """All numbers from `low` to `high`, both included."""

    low: float
    high: float
    is_log: bool
    is_whole: bool

    @property
    def size(self) -> int | None:
        """How many values there are; None: more than can be counted."""
        return int(self.high) - int(self.low) + 1 if self.is_whole else None

    def at(self, share: float) -> Value:
        """The value at a share 0 <= share < 1 of the way."""
        low, high = self.low, self.high
        if self.is_whole:
            low, high = low - 0.5, high + 0.5
        if self.is_log:
            found = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            found = low + share * (high - low)
        return self.settled(found)

    def settled(self, value: float) -> Value:
        """The nearest value that the range has."""
        if self.is_whole:
            return int(min(max(math.floor(value + 0.5), self.low), self.high))
        return min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)

    @property
    def extremes(self) -> tuple[Value, ...]:
        """The values that say whether all are allowed: both ends."""
        return self.settled(self.low), self.settled(self.high)

    def to_json(self) -> dict[str, object]:
        """What is written down."""
        low, high = self.extremes
        return {"low": low, "high": high, "log": self.is_log}


Domain: TypeAlias = Choices | Range


class Dimension(NamedTuple):
    """One key and where its values come from."""

    key: str
    domain: Domain


class Space(NamedTuple):
    """The keys that a search varies. The policy is always one of them, if only with one choice."""

    dimensions: tuple[Dimension, ...]

    @property
    def size(self) -> int | None:
        """How many configurations there are; None: more than can be counted."""
        sizes = [dimension.domain.size for dimension in self.dimensions]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    def at(self, shares: Sequence[float]) -> Cell:
        """The configuration at these shares of the way, one for each key."""
        pairs = zip(self.dimensions, shares, strict=True)
        return Cell(tuple((d.key, d.domain.at(share)) for d, share in pairs))

    def axes(self) -> tuple[Axis, ...]:
        """The extreme values of every key."""
        return tuple(Axis(d.key, d.domain.extremes) for d in self.dimensions)

    def to_json(self) -> dict[str, object]:
        """What is written down."""
        return {d.key: d.domain.to_json() for d in self.dimensions}


def read_space(options: Sequence[str], policies: Sequence[str]) -> Space:
    """Read `--vary key=low..high[:log]` and `--vary key=a,b,c`, and who serves where the policy
    does not vary. Raise a UserError for what cannot be searched.
    """
    found: list[Dimension] = []
    for option in options:
        name, equals, text = option.partition("=")
        if not equals or not name.strip() or not text.strip():
            raise UserError(f"--vary {option!r}: write key=low..high, key=low..high:log or key=a,b")
        key = key_of(name, "--vary")
        if key == "seed":
            raise UserError("--vary seed: a search is over options; average seeds with --seeds N")
        if key in (dimension.key for dimension in found):
            raise UserError(f"--vary {key} is given twice: write it once")
        found.append(Dimension(key, _domain(key, text.strip())))
    if not found:
        raise UserError("nothing to search: add --vary key=low..high or --vary key=a,b,c")
    return Space((*_fixed_policy(found, policies), *found))


def _fixed_policy(found: Sequence[Dimension], policies: Sequence[str]) -> tuple[Dimension, ...]:
    varied = POLICY in (dimension.key for dimension in found)
    if varied and policies:
        raise UserError("--policy and --vary policy=... are both given: keep one of them")
    if varied:
        return ()
    names = tuple(expand(policies)) if policies else ()
    if len(names) != 1:
        raise UserError(
            f"a search fixes one policy and got {len(names)}: name one with --policy orbitflow, "
            "or search them with --vary policy=a,b"
        )
    return (Dimension(POLICY, Choices(names)),)


def _domain(key: str, text: str) -> Domain:
    option = f"--vary {key}"
    if _DOTS in text and kind_of(key) in (int, float):
        return _range(key, text, option)
    values = [read_value(key, part, option) for part in text.split(",")]
    if key == POLICY:
        values = [name for value in values for name in expand([str(value)])]
    return Choices(tuple(dict.fromkeys(values)))


def _range(key: str, text: str, option: str) -> Range:
    is_log = text.lower().endswith(_LOG)
    ends = (text[: -len(_LOG)] if is_log else text).split(_DOTS)
    if len(ends) != 2 or not all(end.strip() for end in ends):
        raise UserError(f"{option}={text}: write low..high or low..high:log")
    units = [end.strip().lstrip("+-0123456789._") for end in ends]
    if key.endswith(("_bytes", "_s")) and bool(units[0]) != bool(units[1]):
        raise UserError(f"{option}={text}: write a unit at both ends, or at none")
    low, high = (float(read_value(key, end, option)) for end in ends)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"{option}={text}: the first end must be less than the second")
    if is_log and low <= 0:
        raise UserError(f"{option}={text}: a log range must begin above 0")
    return Range(low, high, is_log, kind_of(key) is int)
