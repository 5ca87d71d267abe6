"""The planner's question as an integer program, built with PuLP.

One binary per request and option, at most one of them set; `problem`'s formulas as linear rows (T
and T1 are maxima of linear functions, so no variable per transfer is needed); solved once for each
quantity in the order wanted, the earlier ones held at what was reached:

    loss,  then T,  then pages moved to stay

A stage whose start is at its lower bound is skipped. After arXiv 2601.10729, where a bilinear
program has the window as a variable; here it is given, so that everything stays linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pulp

from orbitflow.machine.pipeline import Overlap
from orbitflow.planner.problem import FORGONE, REST, Choice, Problem
from orbitflow.planner.score import STEP, Score, score
from orbitflow.planner.solver import Effort, Status, solve
from orbitflow.planner.solvers import SolverName

MS = 1e3  # times in the program are milliseconds, late tokens tokens: of like size
SLACK = 1e-6  # by which later stages may undo an earlier one


class IlpAnswer(NamedTuple):
    """What the solver made of it. `choice` is None if it has no usable answer; `message` says why.

    `is_optimal` is the solver's own claim, for the last stage that it was asked.
    """

    choice: Choice | None
    is_optimal: bool
    message: str


def solve_ilp(
    problem: Problem,
    *,
    solver: SolverName = SolverName.AUTO,
    effort: Effort,
    start: Choice | None = None,
) -> IlpAnswer:
    """Solve a problem, from a start if there is one."""
    model = _Model(problem)
    incumbent = start
    is_optimal = True
    for stage in model.stages():
        known = None if incumbent is None else score(problem, incumbent)
        if known is not None and stage.reached(known) <= stage.least:
            model.hold(stage, stage.reached(known))
            continue
        model.program.setObjective(stage.objective)
        begin = None if known is None or incumbent is None else model.values(incumbent, known)
        answer = solve(model.program, model.variables, solver=solver, effort=effort, start=begin)
        if answer.status is Status.INFEASIBLE:
            return IlpAnswer(None, False, f"{answer.solver}: no plan fits")
        if answer.status is Status.FAILED:
            return IlpAnswer(incumbent if incumbent is not start else None, False, answer.message)
        incumbent = model.choice(answer.values)
        is_optimal = is_optimal and answer.status is Status.OPTIMAL
        reached = score(problem, incumbent)
        if reached is None:
            return IlpAnswer(None, False, f"{answer.solver}: its plan does not fit")
        model.hold(stage, stage.reached(reached))
    return IlpAnswer(incumbent, is_optimal, "")


class _Stage(NamedTuple):
    """One quantity to minimise. `least` is a value below which it cannot go."""

    name: str
    objective: pulp.LpAffineExpression
    field: int  # of Score
    scale: float
    least: float

    def reached(self, known: Score) -> float:
        """What a choice has of it, in the program's units."""
        return float(known[self.field]) * self.scale


class _Model:
    """Variables and rows of one problem."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.program = program = pulp.LpProblem("plan", pulp.LpMinimize)
        requests, options = range(len(problem.requests)), range(len(problem.options))
        self._set = [[self._binary(f"y_{r}_{o}") for o in options] for r in requests]
        self._pass = program.add_variable("pass_ms", 0)
        self._first = program.add_variable("first_ms", 0)
        self._ring = program.add_variable("ring_pages", 0)
        self._late = [program.add_variable(f"late_{r}", 0) for r in requests]
        self._uniform = [self._binary(f"u_{o}") for o in options] if problem.is_uniform else []
        self._membership()
        self._memory()
        self._times()
        self._lateness()

    @property
    def variables(self) -> list[pulp.LpVariable]:
        """All of them, in the order of `values`."""
        binaries = [y for row in self._set for y in row]
        return [*binaries, self._pass, self._first, self._ring, *self._late, *self._uniform]

    def stages(self) -> tuple[_Stage, ...]:
        """What is minimised, in this order."""
        terms = self._problem.terms
        running = pulp.lpSum(y for row in self._set for y in row)
        forgone = FORGONE * self._problem.passes * (len(self._set) - running)
        pages = (terms.loaded * terms.group_pages[:, None]).tolist()
        moved = self._over(pages)
        return (
            _Stage("loss", pulp.lpSum(self._late) + forgone, 0, 1.0, STEP),
            _Stage("pass", pulp.lpSum([self._pass]), 1, MS, 0.0),
            _Stage("moved", moved, 2, 1.0, 0.0),
        )

    def hold(self, stage: _Stage, reached: float) -> None:
        """Let later stages keep what this one has reached."""
        allowed = reached + SLACK * max(1.0, abs(reached))
        self.program.addConstraint(stage.objective <= allowed, f"hold_{stage.name}")

    def choice(self, values: Sequence[float]) -> Choice:
        """The option of each request in a solver's values."""
        options = len(self._problem.options)
        rows = np.array(values[: len(self._set) * options]).reshape(len(self._set), options)
        best = rows.argmax(axis=1)
        chosen = np.where(rows.max(axis=1) > 0.5, best, REST)
        return Choice(tuple(chosen.tolist()))

    def values(self, choice: Choice, known: Score) -> list[float]:
        """A choice as values of all variables, for a start."""
        problem, terms = self._problem, self._problem.terms
        values = [
            float(chosen == o) for chosen in choice.options for o in range(len(problem.options))
        ]
        option = np.array(choice.options)
        runs = (option != REST).astype(float)
        staged = (terms.columns[np.maximum(option, 0)] * runs[:, None]).T @ terms.group_pages
        span = known.first_pass_s + (problem.passes - 1) * known.pass_s
        back_s = (1 - runs) * problem.limits.layers * terms.layer_link_s
        behind = (span + back_s - terms.due_s) / terms.tau_s - (problem.passes - 1) * runs
        at_once = (known.first_pass_s - terms.due_s) / terms.tau_s
        late = np.maximum(0.0, np.maximum(behind, at_once))
        values += [known.pass_s * MS, known.first_pass_s * MS, float(staged.max())]
        values += late.tolist()
        if self._uniform:
            shared = max(choice.options)
            values += [float(o == shared) for o in range(len(problem.options))]
        return values

    # -- rows ------------------------------------------------------------------------------------

    def _binary(self, name: str) -> pulp.LpVariable:
        return self.program.add_variable(name, 0, 1, cat=pulp.LpInteger)

    def _over(self, coefficients: Sequence[Sequence[float]]) -> pulp.LpAffineExpression:
        """A sum over requests and options; coefficients of shape (n, k)."""
        return pulp.LpAffineExpression(
            [
                (y, c)
                for row, line in zip(self._set, coefficients, strict=True)
                for y, c in zip(row, line, strict=True)
                if c
            ]
        )

    def _membership(self) -> None:
        program = self.program
        for row, request in zip(self._set, self._problem.requests, strict=True):
            runs = pulp.lpSum(row)
            if request.may_rest:
                program += runs <= 1
            else:
                program += runs == 1
        program += pulp.lpSum(y for row in self._set for y in row) >= 1
        order = self._problem.rest_order or ()
        for earlier, later in pairwise(order):
            program += pulp.lpSum(self._set[earlier]) <= pulp.lpSum(self._set[later])
        if self._uniform:
            program += pulp.lpSum(self._uniform) == 1
            for row in self._set:
                for y, shared in zip(row, self._uniform, strict=True):
                    program += y <= shared

    def _memory(self) -> None:
        terms = self._problem.terms
        for column in terms.columns.T:
            staged = (terms.group_pages[:, None] * column).tolist()
            self.program += self._over(staged) <= self._ring
        held = self._over(terms.gpu_pages.tolist())
        self.program += held + terms.charged_groups * self._ring <= terms.gpu_limit

    def _times(self) -> None:
        problem, terms, program = self._problem, self._problem.terms, self.program
        compute = (terms.compute_s[:, None] * np.ones(len(problem.options))) * MS
        link = terms.layer_link_s[:, None] * terms.host_layers * MS
        loads = terms.layer_link_s[:, None] * terms.loaded * MS
        slowed = compute + problem.cost.link_slowdown * link
        base = terms.base_s * MS
        program += self._over(slowed.tolist()) + base <= self._pass
        if problem.overlap is Overlap.PAPER:
            self._paper_times(slowed, compute, base)
        else:
            program += self._over(link.tolist()) <= self._pass
        program += self._pass <= self._first
        program += self._over((link + loads).tolist()) <= self._first

    def _paper_times(self, slowed: np.ndarray, compute: np.ndarray, base: float) -> None:
        """T >= C + X_j - j t_c for every layer j that somebody may have on the host."""
        problem, terms = self._problem, self._problem.terms
        layers, outside = problem.limits.layers, problem.cost.decode.outside_s * MS
        arrived = np.cumsum(terms.members, axis=1)  # (k, L) host layers up to each
        for j in np.flatnonzero(terms.members.any(axis=0)).tolist():
            share = j / layers
            by_option = slowed - share * compute
            by_option = by_option + terms.layer_link_s[:, None] * arrived[:, j] * MS
            constant = base * (1 - share) + share * outside
            self.program += self._over(by_option.tolist()) + constant <= self._pass

    def _lateness(self) -> None:
        problem = self._problem
        more = problem.passes - 1
        back = (problem.limits.layers * problem.terms.layer_link_s * MS).tolist()
        asked = zip(problem.requests, self._set, self._late, back, strict=True)
        for request, row, late, back_ms in asked:
            if not np.isfinite(request.due_s):
                continue
            tau, due = request.tau_s * MS, request.due_s * MS
            runs = pulp.lpSum(row)
            span = self._first * (1 / tau) + self._pass * (more / tau)
            self.program += span + back_ms / tau - (more + back_ms / tau) * runs <= late + due / tau
            self.program += self._first * (1 / tau) <= late + due / tau
