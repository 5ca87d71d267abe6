"""The turn problem as an integer program, built with PuLP: slow, and the measure of the solver.

One binary (runs) and one integer (host layers) per member, one binary more for whoever may hold
the largest group of the ring; `question`'s formulas are linear in them, as every maximum in them
is minimised. That a member rests adds a constant to its lateness, so no big number is needed:

    late_r >= (span - due_r) / tau_r - (W - 1) + (1 - runs_r) (L x_r / tau_r + W - 1)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pulp

from orbitflow.planner.solver import Effort, Status, solve
from orbitflow.planner.solvers import SolverName
from orbitflow.planner.turn.question import REST, Question, Turn
from orbitflow.planner.turn.worth import Worth, worth

MS = 1e3  # times in the program are milliseconds, late tokens tokens: of like size
OPTIMUM = Effort(gap=0.0, nodes=None, seconds=None)


class MilpAnswer(NamedTuple):
    """What the solver made of it. `turn` is None if it has no usable answer; `message` says why.

    `is_optimal` is the solver's own claim.
    """

    turn: Turn | None
    worth: Worth | None
    is_optimal: bool
    message: str


def solve_milp(
    question: Question,
    *,
    solver: SolverName = SolverName.AUTO,
    effort: Effort = OPTIMUM,
    start: Turn | None = None,
) -> MilpAnswer:
    """Solve a question, from a start if there is one."""
    if not question.members:
        return MilpAnswer(Turn(()), worth(question, Turn(())), True, "")
    model = _Model(question)
    known = None if start is None else worth(question, start)
    begin = None if start is None or known is None else model.values(start, known)
    answer = solve(model.program, model.variables, solver=solver, effort=effort, start=begin)
    if answer.status is Status.INFEASIBLE:
        return MilpAnswer(None, None, False, f"{answer.solver}: no turn fits")
    if answer.status is Status.FAILED:
        return MilpAnswer(None, None, False, answer.message)
    turn = model.turn(answer.values)
    found = worth(question, turn)
    if found is None:
        return MilpAnswer(None, None, False, f"{answer.solver}: its turn does not fit")
    return MilpAnswer(turn, found, answer.status is Status.OPTIMAL, answer.message)


class _Model:
    """Variables and rows of one question."""

    def __init__(self, question: Question) -> None:
        self._question, self._terms = question, question.terms
        self.program = pulp.LpProblem("turn", pulp.LpMinimize)
        rows, layers = range(len(question.members)), question.limits.layers
        self._runs = [self._whole(f"runs_{r}", 1) for r in rows]
        self._hosted = [self._whole(f"hosted_{r}", layers) for r in rows]
        self._streams = [self._whole(f"streams_{r}", 1) for r in rows]
        self._crossing = [self.program.add_variable(f"crossing_{r}", 0, layers) for r in rows]
        self._late = [self.program.add_variable(f"late_{r}", 0) for r in rows]
        self._pass = self.program.add_variable("pass_ms", 0)
        self._first = self.program.add_variable("first_ms", 0)
        self._largest = self.program.add_variable("largest_pages", 0)
        self._objective()
        self._membership()
        self._memory()
        self._times()
        self._lateness()

    @property
    def variables(self) -> list[pulp.LpVariable]:
        """All of them, in the order of `values`."""
        several = (self._runs, self._hosted, self._streams, self._crossing, self._late)
        return [*(v for group in several for v in group), self._pass, self._first, self._largest]

    def turn(self, values: Sequence[float]) -> Turn:
        """The turn in a solver's values."""
        count = len(self._runs)
        pairs = zip(values[:count], values[count : 2 * count], strict=True)
        return Turn(tuple(round(hosted) if runs > 0.5 else REST for runs, hosted in pairs))

    def values(self, turn: Turn, known: Worth) -> list[float]:
        """A turn as values of all variables, for a start."""
        terms = self._terms
        layers = np.array(turn.host_layers)
        runs = layers != REST
        hosted = np.where(runs, layers, 0)
        crossing = np.maximum(hosted, terms.absent) * runs
        more = terms.passes - 1
        rest_s = ~runs * (terms.layers * terms.link_s + more * terms.tau_s)
        behind = (known.span_s + rest_s - terms.due_s) / terms.tau_s - more
        at_once = (known.first_pass_s - terms.due_s) / terms.tau_s
        late = np.maximum(0.0, np.maximum(behind, at_once))
        largest = (terms.pages * (hosted > 0)).max()
        groups = (runs, hosted, hosted > 0, crossing, late)
        values = [float(v) for group in groups for v in group]
        return [*values, known.pass_s * MS, known.first_pass_s * MS, float(largest)]

    # -- rows ------------------------------------------------------------------------------------

    def _whole(self, name: str, most: int) -> pulp.LpVariable:
        return self.program.add_variable(name, 0, most, cat=pulp.LpInteger)

    def _sum(
        self, variables: Sequence[pulp.LpVariable], factors: Sequence[float]
    ) -> pulp.LpAffineExpression:
        return pulp.LpAffineExpression(
            [(v, f) for v, f in zip(variables, factors, strict=True) if f]
        )

    def _objective(self) -> None:
        terms = self._terms
        late = self._sum(self._late, terms.weight.tolist())
        price = terms.price / MS
        span = price * self._first + price * (terms.passes - 1) * self._pass
        made = self._sum(self._runs, (terms.passes * terms.value).tolist())
        self.program.setObjective(late + span - made)

    def _membership(self) -> None:
        program, terms = self.program, self._terms
        program += pulp.lpSum(self._runs) >= 1
        lists = (self._runs, self._hosted, self._streams, self._crossing)
        for row, (runs, hosted, streams, crossing) in enumerate(zip(*lists, strict=True)):
            if terms.must_run[row]:
                program += runs == 1
            program += hosted <= terms.layers * streams
            program += streams <= runs
            program += hosted <= crossing
            if terms.absent[row]:
                program += float(terms.absent[row]) * runs <= crossing

    def _memory(self) -> None:
        terms, program = self._terms, self.program
        whole = (terms.layers * (terms.pages + 1)).tolist()
        given = (terms.pages * (1 - terms.ring / terms.layers)).tolist()
        largest = terms.ring * (1 - 1 / terms.layers)
        held = self._sum(self._runs, whole) - self._sum(self._hosted, given)
        if not largest:
            program += held <= terms.gpu_pages
            return
        program += held + largest * self._largest <= terms.gpu_pages
        for pages, streams in zip(terms.pages.tolist(), self._streams, strict=True):
            if pages:
                program += pages * streams <= self._largest

    def _times(self) -> None:
        terms, program = self._terms, self.program
        link_ms = (terms.link_s * MS).tolist()
        link = self._sum(self._hosted, link_ms)
        compute = self._sum(self._runs, (terms.compute_s * MS).tolist())
        program += compute + terms.slowdown * link + terms.base_s * MS <= self._pass
        program += link <= self._pass
        program += self._pass >= terms.floor_s * MS
        program += self._pass <= self._first
        program += self._sum(self._crossing, link_ms) <= self._first

    def _lateness(self) -> None:
        terms = self._terms
        more, finite = terms.passes - 1, np.isfinite(terms.due_s)
        back = (terms.layers * terms.link_s / terms.tau_s).tolist()
        for row in np.flatnonzero(finite & (terms.weight > 0)).tolist():
            late, runs = self._late[row], self._runs[row]
            tau, due = terms.tau_s[row] * MS, float(terms.due_s[row] / terms.tau_s[row])
            span = self._first * (1 / tau) + self._pass * (more / tau)
            self.program += span + back[row] - (back[row] + more) * runs <= late + due
            self.program += self._first * (1 / tau) <= late + due
