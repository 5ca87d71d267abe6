"""Targets of a service: `slo_attainment=0.95`, `ttft_s.p95=500ms`, and whether runs meet them.

A target is met by several seeds if the mean of its figure over them is on the right side of its
value, equality included (to 1e-9 of the value). Shares and rates have to reach it, times and counts
of trouble must not exceed it. A figure that is undefined in one of the runs meets nothing.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from orbitflow.errors import UserError, nearest
from orbitflow.results.summary import Totals
from orbitflow.study.figures import DIRECTIONS, Kind, kind_of
from orbitflow.study.keys import Direction
from orbitflow.units import parse_seconds

_EQUAL = 1e-9
_TARGET = re.compile(r"\s*([\w.\-]+?)\s*(<=|>=|=)\s*(\S.*?)\s*")


class Target(NamedTuple):
    """A figure of `summary.json` by its dotted name, and the value that it has to reach, or must
    not exceed.
    """

    figure: str
    value: float
    is_least: bool  # the value is the least that is wanted

    def __str__(self) -> str:
        return f"{self.figure} {'>=' if self.is_least else '<='} {self.value:g}"

    def is_met_by(self, value: float) -> bool:
        """Whether the figure is on the right side."""
        slack = _EQUAL * abs(self.value)
        return value >= self.value - slack if self.is_least else value <= self.value + slack


def are_met(targets: Sequence[Target], runs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every target is met by the mean over the figures of at least one run."""
    return all(_is_met(target, [run.get(target.figure) for run in runs]) for target in targets)


def _is_met(target: Target, values: Sequence[float | None]) -> bool:
    known = [value for value in values if value is not None]
    return len(known) == len(values) and target.is_met_by(statistics.fmean(known))


def more_is_better(figure: str) -> bool:
    """Whether a larger value of the figure is a better service."""
    return figure == "output_tokens" or DIRECTIONS.get(figure) is Direction.MAX


def read_targets(options: Sequence[str]) -> tuple[Target, ...]:
    """Read `figure=value`; `>=` and `<=` may be written where the other sense is meant.

    Raise a UserError for none at all, an unknown figure, or a value that the figure cannot have.
    """
    if not options:
        raise UserError("no target: say what must hold, such as --target slo_attainment=0.95")
    targets = [_read(option) for option in options]
    names = [target[:1] + target[2:] for target in targets]
    if len(set(names)) < len(names):
        raise UserError("--target names a figure twice: keep the stricter one")
    return tuple(targets)


def _read(option: str) -> Target:
    match = _TARGET.fullmatch(option)
    if match is None:
        raise UserError(f"--target {option!r}: write figure=value, such as slo_attainment=0.95")
    figure = figure_of(match[1], "--target")
    is_least = more_is_better(figure) if match[2] == "=" else match[2] == ">="
    return Target(figure, _value(figure, match[3]), is_least)


def figure_of(name: str, option: str) -> str:
    """The figure that a person means. Raise a UserError with the nearest names for a stranger."""
    figure = name.strip().replace("-", "_")
    if figure not in figures():
        parts = [known for known in figures() if known.startswith(f"{figure}.")]
        hint = f"write {' or '.join(parts)}" if parts else nearest(figure, figures())
        raise UserError(f"{option}: no figure is called {name!r}: {hint}")
    return figure


@cache
def figures() -> tuple[str, ...]:
    """The names of all figures that every policy's run has and that can be judged."""
    return tuple(name for name in _names(Totals(1).to_json({})) if name != "requests")


def _names(figures: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from _names(value, f"{prefix}{name}.") if name != "by_length" else ()
        else:
            yield prefix + name


def _value(figure: str, text: str) -> float:
    kind = kind_of(figure)
    is_share, is_time = kind is Kind.SHARE, kind is Kind.SECONDS
    try:
        if text.endswith("%") and is_share:
            value = float(text[:-1]) / 100
        else:
            value = parse_seconds(text) if is_time and text.strip("0.") else float(text)
    except UserError as error:
        raise UserError(f"--target {figure}: {error}") from None
    except ValueError:
        raise UserError(
            f"--target {figure}: cannot read {text!r}: write "
            f"{'a share such as 0.95 or 95%' if is_share else 'a number'}"
        ) from None
    if not 0 <= value < float("inf") or (is_share and value > 1):
        limit = "from 0 to 1, or a percentage such as 95%" if is_share else "finite and at least 0"
        raise UserError(f"--target {figure}: {text} must be {limit}")
    return value
