"""Capacity questions: the highest rate, smallest memory, slowest link that still meets a target.

At a point (a value of what is varied) every seed is simulated, and the target is met if the means
over the seeds meet it. Then each seed has a crossing of its own, searched among the same points:

    crossing = sqrt(met * missed),  h = t(0.975, n - 1) s / sqrt(n) of the log crossings,
    interval = exp(mean log lower bracket end - h) .. exp(mean log upper bracket end + h)

The promise (tau, TTFT limits) is the base configuration's at every point. Design section 9.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, TypeAlias

from orbitflow import errors
from orbitflow.config import RunConfig
from orbitflow.policy.registry import expand
from orbitflow.study.bisection import (
    Crossing,
    Ends,
    Number,
    Search,
    Varied,
    find_crossing,
    refine_crossing,
    varied,
)
from orbitflow.study.capacity_run import MakeSearch
from orbitflow.study.figures import Target, are_met
from orbitflow.study.grid import Axis, Cell, Grid
from orbitflow.study.keys import POLICY
from orbitflow.study.statistics import estimate
from orbitflow.study.stored import Row, job_id
from orbitflow.study.study import Job, Study, plan_study

LEAST_TOLERANCE, MOST_TOLERANCE = 1e-6, 0.5
Rows: TypeAlias = Mapping[tuple[str, int], Row]
_USER_ERRORS = frozenset(
    kind.__name__
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.UserError)
)


class Ask(NamedTuple):
    """A point, and the seeds that decide there."""

    policy: str
    value: Number
    seeds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """Which target, and what is varied in which study."""

    study: Study  # its grid has the varied key without values
    targets: tuple[Target, ...]
    varied: Varied
    ends: Ends | None

    @property
    def policies(self) -> tuple[str, ...]:
        """Who is asked."""
        (values,) = (axis.values for axis in self.study.grid.axes if axis.key == POLICY)
        return tuple(str(value) for value in values)

    @property
    def varies_rate(self) -> bool:
        """Whether arrivals are what is varied."""
        return self.varied.key == "rate_scale"

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of every point."""
        return tuple(self.study.base.seed + n for n in range(self.study.seeds))

    def jobs(self, ask: Ask) -> list[Job]:
        """The simulations that decide a point."""
        cell = Cell(((POLICY, ask.policy), (self.varied.key, ask.value)))
        return [Job(cell, seed) for seed in ask.seeds]

    def verdict(self, rows: Rows, ask: Ask) -> bool | None:
        """Whether the target is met at a point; None while a simulation is missing. A point whose
        configuration cannot be served at all (memory without room for a page) meets nothing.
        """
        found = [rows.get(job_id(job)) for job in self.jobs(ask)]
        if any(row is not None and is_impossible(row) for row in found):
            return False
        known = [row["figures"] for row in found if row is not None and row["status"] == "ok"]
        return are_met(self.targets, known) if len(known) == len(found) else None

    def search(self, policy: str) -> MakeSearch[Ask, Crossing]:
        """The search over all seeds."""
        search = partial(find_crossing, self.varied, self.ends)
        return partial(_asking, search, policy, self.seeds)

    def search_of_seed(
        self, policy: str, seed: int, crossing: Crossing
    ) -> MakeSearch[Ask, Crossing]:
        """The search of one seed alone, among the points that all seeds were simulated at."""
        values = tuple(one.value for one in crossing.tested)
        return partial(_asking, partial(refine_crossing, self.varied, values), policy, (seed,))


def is_impossible(row: Row) -> bool:
    """Whether a configuration was refused, rather than its simulation failed."""
    return row["status"] != "ok" and str(row["error"]).partition(":")[0] in _USER_ERRORS


class Spread(NamedTuple):
    """Where the seeds cross: geometric mean and 95 % interval, which includes what the bisection
    left open. `crossings` has None for a seed that does not cross among the points of the search;
    then there is no interval.
    """

    crossings: tuple[float | None, ...]
    mean: float | None
    low: float | None
    high: float | None


def spread(found: Mapping[int, Crossing]) -> Spread:
    """The crossings of seeds, folded."""
    brackets = [
        None if c.met is None or c.missed is None else (math.log(c.met), math.log(c.missed))
        for c in found.values()
    ]
    crossings = tuple(None if b is None else math.exp(sum(b) / 2) for b in brackets)
    known = [bracket for bracket in brackets if bracket is not None]
    if len(known) < len(crossings) or len(known) < 2:
        return Spread(crossings, None, None, None)
    mean, half = estimate([sum(bracket) / 2 for bracket in known])
    assert half is not None
    open_half = sum(abs(missed - met) / 2 for met, missed in known) / len(known)
    half += open_half
    return Spread(crossings, math.exp(mean), math.exp(mean - half), math.exp(mean + half))


class Answer(NamedTuple):
    """What was found for one policy. `error` says why a search could not be ended."""

    policy: str
    crossing: Crossing | None
    spread: Spread | None  # None for one seed
    error: str | None = None

    @property
    def value(self) -> Number | None:
        """The hardest value that met the target, if there is one that did not beyond it."""
        if self.crossing is None or self.crossing.missed is None:
            return None
        return self.crossing.met


def plan_capacity(
    base: RunConfig,
    targets: tuple[Target, ...],
    vary: str,
    *,
    seeds: int,
    arrival_jitter: float | None = None,
    tolerance: float = 0.02,
) -> Question:
    """Check what can be checked before anything runs. Raise a UserError for what is wrong."""
    key, ends = read_vary(vary)
    policies = tuple(expand(base.policies))
    grid = Grid((Axis(POLICY, policies), Axis(key, ())))
    base = replace(base, policies=())
    study = plan_study(base, grid, seeds=seeds, arrival_jitter=arrival_jitter)
    if not LEAST_TOLERANCE <= tolerance <= MOST_TOLERANCE:
        raise errors.UserError(
            f"--tolerance {tolerance:g} must be from {LEAST_TOLERANCE:g} to {MOST_TOLERANCE:g}"
        )
    option = varied(key, base, study.scenario, ends, tolerance)
    question = Question(study, targets, option, ends)
    for value in (option.start, *(ends or ())):
        for job in question.jobs(Ask(policies[0], value, question.seeds)):
            study.config(job)  # refuses a value out of range
    return question


def _asking(
    search: MakeSearch[Number, Crossing], policy: str, seeds: tuple[int, ...]
) -> Generator[Ask, bool, Crossing]:
    """The search, its values asked of these seeds."""
    inner: Search = search()
    try:
        value = next(inner)
        while True:
            value = inner.send((yield Ask(policy, value, seeds)))
    except StopIteration as stop:
        found: Crossing = stop.value
        return found
