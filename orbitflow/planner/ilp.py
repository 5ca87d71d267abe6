"""The planning problem as an integer program, built with PuLP: slow, and the measure of the search.

One binary (runs) and one integer (host layers) per candidate; one binary more for each placement,
and for whoever has anything on the host. `problem`'s formulas are linear in them, as every maximum
in them is minimised. That a candidate rests adds a constant to its lateness, so no big number is
needed:

    late_r >= (span - due_r) / tbt_r - (W - 1) + (1 - runs_r) (L x_r / tbt_r + W - 1)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pulp

from orbitflow.planner.problem import REST, Problem
from orbitflow.planner.score import Score, lateness, score
from orbitflow.planner.solver import Effort, Status, solve

MS = 1e3  # times in the program are milliseconds, late tokens tokens: of like size
OPTIMUM = Effort()


class IlpPlan(NamedTuple):
    """What the solver made of it. `plan` is None if it has no usable answer; `message` says why.

    `is_optimal` is the solver's own claim, to within the gap asked for.
    """

    plan: tuple[int, ...] | None
    score: Score | None
    is_optimal: bool
    message: str


def solve_ilp(
    problem: Problem, *, effort: Effort = OPTIMUM, start: tuple[int, ...] | None = None
) -> IlpPlan:
    """Solve a problem, from a start if there is one."""
    if not problem.candidates:
        return IlpPlan((), score(problem, ()), True, "")
    model = _Model(problem)
    known = None if start is None else score(problem, start)
    begin = None if start is None or known is None else model.values(start, known)
    solved = solve(model.program, model.variables, effort=effort, start=begin)
    if solved.status is Status.INFEASIBLE:
        return IlpPlan(None, None, False, "no plan fits")
    if solved.status is Status.FAILED:
        return IlpPlan(None, None, False, solved.message)
    plan = model.plan(solved.values)
    found = score(problem, plan)
    if found is None:
        return IlpPlan(None, None, False, "its plan does not fit")
    return IlpPlan(plan, found, solved.status is Status.OPTIMAL, solved.message)


class _Model:
    """Variables and rows of one problem."""

    def __init__(self, problem: Problem) -> None:
        self._problem, self._terms = problem, problem.terms
        self.program = pulp.LpProblem("plan", pulp.LpMinimize)
        rows, layers = range(len(problem.candidates)), problem.limits.layers
        self._runs = [self._whole(f"runs_{r}", 1) for r in rows]
        self._hosted = [self._whole(f"hosted_{r}", layers) for r in rows]
        self._streams = [self._whole(f"streams_{r}", 1) for r in rows]
        self._crossing = [self._real(f"crossing_{r}") for r in rows]
        self._late = [self._real(f"late_{r}") for r in rows]
        kinds = range(len(problem.placements or ()))
        self._set = [[self._whole(f"set_{r}_{k}", 1) for k in kinds] for r in rows]
        self._shared = [self._whole(f"shared_{k}", 1) for k in kinds if problem.is_uniform]
        self._pass, self._first = self._real("pass_ms"), self._real("first_ms")
        self._largest = self._real("largest_pages")
        self._objective()
        self._membership()
        if problem.placements is None:
            self._any_layers()
        else:
            self._placements()
        self._memory()
        self._times()
        self._lateness()

    @property
    def variables(self) -> list[pulp.LpVariable]:
        """All of them, in the order of `values`."""
        several = (self._runs, self._hosted, self._streams, self._crossing, self._late, *self._set)
        each = [variable for group in several for variable in group]
        return [*each, *self._shared, self._pass, self._first, self._largest]

    def plan(self, values: Sequence[float]) -> tuple[int, ...]:
        """The plan in a solver's values."""
        count = len(self._runs)
        counts = self._problem.host_layers
        pairs = zip(values[:count], values[count : 2 * count], strict=True)
        return tuple(counts.index(round(h)) if runs > 0.5 else REST for runs, h in pairs)

    def values(self, plan: tuple[int, ...], known: Score) -> list[float]:
        """A plan as values of all variables, for a start."""
        terms = self._terms
        option = np.array(plan)
        runs = option != REST
        hosted = terms.hosted[np.maximum(option, 0)] * runs
        crossing = terms.crossing[np.arange(len(plan)), np.maximum(option, 0)] * runs
        times = np.array([known.first_pass_s]), np.array([known.span_s])
        late = lateness(terms, runs[None, :], *times)[0]
        kinds = np.arange(len(self._problem.placements or ()))
        groups = (runs, hosted, hosted > 0, crossing, late, *(option[:, None] == kinds))
        each = [float(value) for group in groups for value in group]
        shared = [float(kind == option.max()) for kind in kinds[: len(self._shared)]]
        largest = float((terms.pages * (hosted > 0)).max())
        return [*each, *shared, known.pass_s * MS, known.first_pass_s * MS, largest]

    # -- rows ------------------------------------------------------------------------------------

    def _whole(self, name: str, most: int) -> pulp.LpVariable:
        return self.program.add_variable(name, 0, most, cat=pulp.LpInteger)

    def _real(self, name: str) -> pulp.LpVariable:
        return self.program.add_variable(name, 0)

    def _sum(
        self, variables: Sequence[pulp.LpVariable], factors: Sequence[float]
    ) -> pulp.LpAffineExpression:
        pairs = [(v, f) for v, f in zip(variables, factors, strict=True) if f]
        return pulp.LpAffineExpression(pairs)

    def _objective(self) -> None:
        terms, weights = self._terms, self._terms.weights
        late = self._sum(self._late, terms.weight.tolist())
        second, more = weights.second / MS, terms.passes - 1
        span = second * self._first + second * more * self._pass
        made = self._sum(self._runs, terms.forgone.tolist())
        constant = float(terms.forgone.sum()) - weights.offset
        self.program.setObjective(late + span - made + constant)

    def _membership(self) -> None:
        program, terms = self.program, self._terms
        program += pulp.lpSum(self._runs) >= 1
        lists = (self._runs, self._hosted, self._streams)
        for row, (runs, hosted, streams) in enumerate(zip(*lists, strict=True)):
            if terms.must_run[row]:
                program += runs == 1
            program += hosted <= terms.layers * streams
            program += streams <= runs
        for earlier, later in pairwise(self._problem.rest_order or ()):
            program += self._runs[earlier] <= self._runs[later]

    def _any_layers(self) -> None:
        rows = zip(self._runs, self._hosted, self._crossing, self._terms.absent, strict=True)
        for runs, hosted, crossing, absent in rows:
            self.program += hosted <= crossing
            if absent:
                self.program += float(absent) * runs <= crossing

    def _placements(self) -> None:
        program, terms = self.program, self._terms
        lists = (self._runs, self._hosted, self._crossing, self._set)
        for row, (runs, hosted, crossing, kinds) in enumerate(zip(*lists, strict=True)):
            program += pulp.lpSum(kinds) == runs
            program += self._sum(kinds, terms.hosted.tolist()) == hosted
            program += self._sum(kinds, terms.crossing[row].tolist()) == crossing
            for kind, shared in zip(kinds, self._shared, strict=False):
                program += kind <= shared
        if self._shared:
            program += pulp.lpSum(self._shared) == 1

    def _memory(self) -> None:
        terms = self._terms
        whole = (terms.layers * (terms.pages + 1)).tolist()
        given = (terms.pages * (1 - terms.ring_spread / terms.layers)).tolist()
        held = self._sum(self._runs, whole) - self._sum(self._hosted, given)
        if terms.ring_each:
            held += self._sum(self._streams, (terms.ring_each * terms.pages).tolist())
        if terms.ring_spread:
            held += terms.ring_spread * (1 - 1 / terms.layers) * self._largest
            for pages, streams in zip(terms.pages.tolist(), self._streams, strict=True):
                if pages:
                    self.program += pages * streams <= self._largest
        self.program += held <= terms.gpu_pages

    def _times(self) -> None:
        terms, program = self._terms, self.program
        link_ms = (terms.link_s * MS).tolist()
        link = self._sum(self._hosted, link_ms)
        compute = self._sum(self._runs, (terms.compute_s * MS).tolist()) + terms.base_s * MS
        slowed = compute + terms.slowdown * link
        program += slowed <= self._pass
        program += link <= self._pass
        if terms.restarts:
            behind = 1 - 1 / terms.layers
            stalled = link - behind * compute + behind * terms.outside_s * MS
            program += slowed + stalled <= self._pass
        program += self._pass >= terms.weights.least_pass_s * MS
        program += self._pass <= self._first
        program += self._sum(self._crossing, link_ms) <= self._first

    def _lateness(self) -> None:
        terms = self._terms
        more, counted = terms.passes - 1, np.isfinite(terms.first) & (terms.weight > 0)
        back = (terms.layers * terms.link_s * terms.rate).tolist()
        for row in np.flatnonzero(counted).tolist():
            late, runs = self._late[row], self._runs[row]
            rate, first = float(terms.rate[row]) / MS, float(terms.first[row])
            span = rate * self._first + rate * more * self._pass
            self.program += span + back[row] - (back[row] + more) * runs + first <= late
            self.program += rate * self._first + first <= late
