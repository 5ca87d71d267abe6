"""The figures that studies judge, by their dotted names in `summary.json`.

The end of a name says the unit. A list says which way each figure is better. A target is met by
several seeds if the mean of its figure over them is on the right side of its value, equality
included (to 1e-9 of the value). A figure that is undefined in one of the runs meets no target.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from orbitflow.errors import UserError, nearest
from orbitflow.results.summary import Totals
from orbitflow.study.keys import Direction, normalized
from orbitflow.units import parse_seconds

if TYPE_CHECKING:
    from orbitflow.study.statistics import Estimate

_TIMES = tuple(
    f"{name}.{of}"
    for name in ("ttft_s", "tpot_s", "tbt_s", "e2el_s")
    for of in ("mean", "p50", "p95", "p99", "max")
)
_BETTER_LARGE = (
    *("timely_share", "tbt_attainment", "tpot_attainment", "ttft_attainment", "slo_attainment"),
    *("goodput_rps", "throughput_tokens_per_s", "completed"),
    *("link.hidden_share", "link.resident_share"),
)
_BETTER_SMALL = (
    *("makespan_s", "failed", "paused_s", "dropped", *_TIMES),
    *("link.h2d_bytes", "link.d2h_bytes", "link.stall_s", "link.moves"),
    *("planner.p50_ms", "planner.p99_ms", "planner.runtime_share"),
)
DIRECTIONS: Mapping[str, Direction] = {
    **dict.fromkeys(_BETTER_LARGE, Direction.MAX),
    **dict.fromkeys(_BETTER_SMALL, Direction.MIN),
}
NO_DIRECTION = (
    *("link.busy_share", "output_tokens", "requests"),
    *(f"planner.{of}" for of in ("calls", "searches", "proven", "kept", "improved", "drifts")),
    "planner.solver_troubles",
)
_EQUAL = 1e-9
_TARGET = re.compile(r"\s*([\w.\-]+?)\s*(<=|>=|=)\s*(\S.*?)\s*")


class Kind(StrEnum):
    """What a figure counts."""

    SHARE = "share"
    SECONDS = "seconds"
    BYTES = "bytes"
    NUMBER = "number"


def kind_of(figure: str) -> Kind:
    """What the figure of that dotted name counts.

    >>> [str(kind_of(name)) for name in ("slo_attainment", "ttft_s.p95", "link.h2d_bytes")]
    ['share', 'seconds', 'bytes']
    >>> str(kind_of("throughput_tokens_per_s"))
    'number'
    """
    if figure.endswith(("_share", "_attainment")):
        return Kind.SHARE
    if figure.endswith("_bytes"):
        return Kind.BYTES
    parts = figure.split(".")
    is_time = any(part.endswith("_s") and not part.endswith("per_s") for part in parts)
    return Kind.SECONDS if is_time else Kind.NUMBER


def more_is_better(figure: str) -> bool:
    """Whether a larger value of the figure is a better service."""
    return figure == "output_tokens" or DIRECTIONS.get(figure) is Direction.MAX


class Objective(NamedTuple):
    """What a search looks for: one figure, as large or as small as possible."""

    figure: str
    direction: Direction

    def of(self, found: Mapping[str, Estimate]) -> float | None:
        """The mean of the figure among those of a trial; None if no seed of it has the figure."""
        return found[self.figure].mean if self.figure in found else None

    def rank(self, value: float | None) -> tuple[bool, float]:
        """The sort key of a trial that reached `value`: the best first, without a value last."""
        if value is None:
            return True, 0.0
        return False, -value if self.direction is Direction.MAX else value


def read_objective(figure: str, direction: Direction | None) -> Objective:
    """Read an objective. Raise a UserError for a figure that no simulation has."""
    if figure not in DIRECTIONS and figure not in NO_DIRECTION:
        known = nearest(figure, (*DIRECTIONS, *NO_DIRECTION))
        raise UserError(f"--objective {figure!r} is no figure of a policy: {known}")
    known_direction = direction or DIRECTIONS.get(figure)
    if known_direction is None:
        raise UserError(f"--objective {figure} is not better one way: add --direction max or min")
    return Objective(figure, known_direction)


class Target(NamedTuple):
    """A figure, and the value that it must reach or must not exceed."""

    figure: str
    value: float
    is_least: bool  # the figure must reach the value

    def __str__(self) -> str:
        return f"{self.figure} {'>=' if self.is_least else '<='} {self.value:g}"

    def is_met_by(self, runs: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the mean over the figures of at least one run meets the target."""
        values = [run.get(self.figure) for run in runs]
        if None in values:
            return False
        mean, slack = statistics.fmean(values), _EQUAL * abs(self.value)  # type: ignore[arg-type]
        return mean >= self.value - slack if self.is_least else mean <= self.value + slack


def read_targets(options: Sequence[str]) -> tuple[Target, ...]:
    """Read `figure=value`. `>=` and `<=` may be written where the other sense is meant.

    Raise a UserError for none at all, an unknown figure, or a value that the figure cannot have.
    """
    if not options:
        raise UserError("no target: say what must hold, such as --target slo_attainment=0.95")
    targets = [_read(option) for option in options]
    names = [(target.figure, target.is_least) for target in targets]
    if len(set(names)) < len(names):
        raise UserError("--target names a figure twice: keep the stricter one")
    return tuple(targets)


def _read(option: str) -> Target:
    match = _TARGET.fullmatch(option)
    if match is None:
        raise UserError(f"--target {option!r}: write figure=value, such as slo_attainment=0.95")
    name, sign, text = match.groups()
    figure = normalized(name)
    if figure not in figures():
        parts = [known for known in figures() if known.startswith(f"{figure}.")]
        hint = f"write {' or '.join(parts)}" if parts else nearest(figure, figures())
        raise UserError(f"--target: no figure is called {name!r}: {hint}")
    is_least = more_is_better(figure) if sign == "=" else sign == ">="
    return Target(figure, _value(figure, text), is_least)


@cache
def figures() -> tuple[str, ...]:
    """The names of all figures that every policy's run has and that can be judged."""
    return tuple(name for name in _names(Totals(1).to_json({})) if name != "requests")


def _names(found: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in found.items():
        if isinstance(value, Mapping):
            yield from _names(value, f"{prefix}{name}.") if name != "by_length" else ()
        else:
            yield prefix + name


def _value(figure: str, text: str) -> float:
    kind = kind_of(figure)
    try:
        if kind is Kind.SHARE and text.endswith("%"):
            value = float(text[:-1]) / 100
        elif kind is Kind.SECONDS and text.strip("0."):  # a zero needs no unit
            value = parse_seconds(text)
        else:
            value = float(text)
    except UserError as error:
        raise UserError(f"--target {figure}: {error}") from None
    except ValueError:
        wanted = "a share such as 0.95 or 95%" if kind is Kind.SHARE else "a number"
        raise UserError(f"--target {figure}: cannot read {text!r}: write {wanted}") from None
    if not 0 <= value < math.inf or (kind is Kind.SHARE and value > 1):
        limit = "finite and at least 0"
        if kind is Kind.SHARE:
            limit = "from 0 to 1, or a percentage such as 95%"
        raise UserError(f"--target {figure}: {text} must be {limit}")
    return value
