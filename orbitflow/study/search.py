"""A search: a space of configurations, and so many trials drawn from it or proposed one by one.

uniform: low + u (high - low);  log: exp(log low + u (log high - log low)), 0 <= u < 1. Whole
numbers are drawn from half a step below `low` to half a step above `high` and rounded, so that in
a uniform range all are equally likely. Other numbers keep six significant digits.

A trial is a cell. The same space, sampler, seed and trials at once give the same cells in the same
order, whatever the number of workers and however often the study was interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from orbitflow.errors import UserError
from orbitflow.policy.registry import expand
from orbitflow.study.figures import Objective
from orbitflow.study.grid import Axis, Cell, Grid
from orbitflow.study.keys import POLICY, Sampler, Value, key_of, kind_of, read_value

MOST_TRIALS = 100_000
MOST_REPEATS = 10_000
DEFAULT_OBJECTIVE = "slo_attainment"
DEFAULT_TRIALS, DEFAULT_AT_ONCE = 50, 4
_DOTS, _LOG = "..", ":log"
_DIGITS = 6


class Choices(NamedTuple):
    """Some values, in no order. All of them are its `extremes`: what says whether it is allowed."""

    values: tuple[Value, ...]

    @property
    def size(self) -> int:
        """How many values there are."""
        return len(self.values)

    @property
    def extremes(self) -> tuple[Value, ...]:
        """Every value."""
        return self.values

    def at(self, share: float) -> Value:
        """The value at a share 0 <= share < 1 of the way."""
        return self.values[int(share * len(self.values))]

    def to_json(self) -> dict[str, object]:
        """The choices as `study.json` has them."""
        return {"choices": list(self.values)}


class NumberRange(NamedTuple):
    """All numbers from `low` to `high`, both included."""

    low: float
    high: float
    is_log: bool
    is_whole: bool

    @property
    def size(self) -> int | None:
        """How many values there are; None: more than can be counted."""
        return int(self.high) - int(self.low) + 1 if self.is_whole else None

    @property
    def extremes(self) -> tuple[Value, ...]:
        """Both ends."""
        return self.settled(self.low), self.settled(self.high)

    def at(self, share: float) -> Value:
        """The value at a share 0 <= share < 1 of the way."""
        low, high = self.low, self.high
        if self.is_whole:
            low, high = low - 0.5, high + 0.5
        if self.is_log:
            return self.settled(math.exp(math.log(low) + share * (math.log(high) - math.log(low))))
        return self.settled(low + share * (high - low))

    def settled(self, value: float) -> Value:
        """The nearest value that the range has."""
        if self.is_whole:
            return int(min(max(math.floor(value + 0.5), self.low), self.high))
        return min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)

    def to_json(self) -> dict[str, object]:
        """The range as `study.json` has it."""
        low, high = self.extremes
        return {"low": low, "high": high, "log": self.is_log}


Domain: TypeAlias = Choices | NumberRange


Space: TypeAlias = Mapping[str, Domain]  # by key; the policy is one, if only with one choice


def size_of(space: Space) -> int | None:
    """How many configurations there are; None: more than can be counted."""
    sizes = [domain.size for domain in space.values() if domain.size is not None]
    return math.prod(sizes) if len(sizes) == len(space) else None


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched, and how. Raise a UserError for a number that no search can have."""

    space: Space
    sampler: Sampler
    objective: Objective
    trials: int = DEFAULT_TRIALS
    seed: int = 0
    at_once: int = DEFAULT_AT_ONCE  # Optuna's proposals before it learns what became of them

    def __post_init__(self) -> None:
        for option, value in (("--trials", self.trials), ("--trials-at-once", self.at_once)):
            if not 1 <= value <= MOST_TRIALS:
                raise UserError(f"{option} {value} must be from 1 to {MOST_TRIALS:,}")

    @property
    def grid(self) -> Grid:
        """The keys and their extreme values: what is checked before anything runs."""
        notices = []
        if self.most < self.trials:
            notices = [
                f"the space has {self.most} configurations, fewer than --trials {self.trials}"
            ]
        axes = tuple(Axis(key, domain.extremes) for key, domain in self.space.items())
        return Grid(axes, tuple(notices))

    @property
    def most(self) -> int:
        """How many different cells the search can come to."""
        return min(self.trials, size_of(self.space) or self.trials)

    def drawn(self) -> tuple[Cell, ...]:
        """The cells that are known before anything runs: all of a random search."""
        if self.sampler is not Sampler.RANDOM:
            return ()
        cells: dict[str, Cell] = {}
        repeats = 0
        for cell in self._draws():
            if len(cells) == self.most or repeats == MOST_REPEATS:
                break
            repeats = repeats + 1 if cell.id in cells else 0
            cells.setdefault(cell.id, cell)
        return tuple(cells.values())

    def to_json(self) -> dict[str, object]:
        """What makes two searches the same."""
        found: dict[str, object] = {
            "sampler": str(self.sampler),
            "seed": self.seed,
            "trials": self.trials,
            "objective": self.objective.figure,
            "direction": str(self.objective.direction),
            "space": {key: domain.to_json() for key, domain in self.space.items()},
        }
        if self.sampler is Sampler.OPTUNA:
            found["trials_at_once"] = self.at_once
        return found

    def _draws(self) -> Iterator[Cell]:
        rng = np.random.Generator(np.random.PCG64(self.seed))
        while True:
            shares = rng.random(len(self.space)).tolist()
            pairs = zip(self.space.items(), shares, strict=True)
            yield Cell(tuple((key, domain.at(share)) for (key, domain), share in pairs))


def read_space(options: Sequence[str], policies: Sequence[str]) -> Space:
    """Read `--vary key=low..high[:log]` and `--vary key=a,b,c`, and who serves where the policy
    does not vary. Raise a UserError for what cannot be searched.
    """
    found: dict[str, Domain] = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals or not name.strip() or not text.strip():
            raise UserError(f"--vary {option!r}: write key=low..high, key=low..high:log or key=a,b")
        key = key_of(name, "--vary")
        if key == "seed":
            raise UserError("--vary seed: a search is over options; average seeds with --seeds N")
        if key in found:
            raise UserError(f"--vary {key} is given twice: write it once")
        found[key] = _domain(key, text.strip())
    if not found:
        raise UserError("nothing to search: add --vary key=low..high or --vary key=a,b,c")
    if POLICY in found:
        if policies:
            raise UserError("--policy and --vary policy=... are both given: keep one of them")
        return found
    names = tuple(expand(policies)) if policies else ()
    if len(names) != 1:
        raise UserError(
            f"a search fixes one policy and got {len(names)}: name one with --policy orbitflow, "
            "or search them with --vary policy=a,b"
        )
    return {POLICY: Choices(names), **found}


def _domain(key: str, text: str) -> Domain:
    option = f"--vary {key}"
    if _DOTS in text and kind_of(key) in (int, float):
        return _range(key, text, option)
    values = [read_value(key, part, option) for part in text.split(",")]
    if key == POLICY:
        values = [name for value in values for name in expand([str(value)])]
    return Choices(tuple(dict.fromkeys(values)))


def _range(key: str, text: str, option: str) -> NumberRange:
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
    return NumberRange(low, high, is_log, kind_of(key) is int)
