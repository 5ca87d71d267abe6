"""Solve a PuLP problem and believe nothing: the one place that knows what solvers do wrong.

An answer is OPTIMAL or FEASIBLE only if its values keep every bound, row and integrality of the
problem, checked here; whatever else happens, a crash included, is a status and never an exception.
Solvers get one thread each and no randomness: the same problem has the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pulp

from orbitflow.config import SolverName
from orbitflow.errors import UserError
from orbitflow.planner.linear import Floats, LinearProgram, read_problem
from orbitflow.planner.solvers.base import Effort, Outcome, Solver, Status
from orbitflow.planner.solvers.cbc import CBC
from orbitflow.planner.solvers.highs import HIGHS

__all__ = [
    "Answer",
    "Effort",
    "SolverName",
    "Status",
    "available",
    "check_solver",
    "solve",
]

_SOLVERS = {SolverName.HIGHS: HIGHS, SolverName.CBC: CBC}  # in order of preference
_ANY = (SolverName.AUTO, SolverName.ILP)  # take the first one there is


class Answer(NamedTuple):
    """What came out. Objective and values are there iff the status is OPTIMAL or FEASIBLE."""

    status: Status
    objective: float | None
    values: tuple[float, ...]
    solver: str
    message: str


def solve(
    problem: pulp.LpProblem,
    variables: Sequence[pulp.LpVariable],
    *,
    solver: SolverName = SolverName.AUTO,
    effort: Effort,
    start: Sequence[float] | None = None,
) -> Answer:
    """Solve a problem; *variables*, all of them, order the values of answer and *start*.

    A start that is no solution is left out, and the message says so. Raise a ValueError if the
    problem uses a variable that is not listed.
    """
    program = read_problem(problem, variables)
    chosen = _chosen(solver)
    if chosen is None:
        return Answer(Status.FAILED, None, (), solver.value, _no_solver(solver))
    begin = None if start is None else np.array(start, dtype=float)
    unfit = None if begin is None else program.fault(begin)
    if begin is not None:
        begin = None if unfit else program.rounded(begin)
    outcome = _checked(program, _attempt(chosen, program, effort, begin))
    said = (outcome.message, f"start left out: {unfit}" if unfit else "")
    message = "; ".join(part for part in said if part)
    if outcome.values is None:
        return Answer(outcome.status, None, (), chosen.title, message)
    values, objective = tuple(outcome.values.tolist()), program.objective(outcome.values)
    return Answer(outcome.status, objective, values, chosen.title, message)


def available() -> tuple[SolverName, ...]:
    """The solvers that can be named here, the one that AUTO takes first."""
    return tuple(name for name, solver in _SOLVERS.items() if solver.missing() is None)


def check_solver(name: SolverName) -> None:
    """Raise a UserError if a solver is not there."""
    if _chosen(name) is None:
        raise UserError(_no_solver(name))


def _chosen(name: SolverName) -> Solver | None:
    names = _SOLVERS if name in _ANY else (name,)
    return next((_SOLVERS[n] for n in names if _SOLVERS[n].missing() is None), None)


def _no_solver(name: SolverName) -> str:
    asked = list(_SOLVERS.values()) if name in _ANY else [_SOLVERS[name]]
    missing = "; ".join(f"{s.title} is not there ({s.missing()}): {s.remedy}" for s in asked)
    others = [n.value for n in available()]
    return missing + (f"; or choose {others[0]}" if others else "")


def _attempt(
    solver: Solver, program: LinearProgram, effort: Effort, start: Floats | None
) -> Outcome:
    """Run a solver, whatever it does."""
    if not program.is_finite():
        return Outcome(Status.FAILED, None, "the problem has a number that is not finite")
    try:
        return solver.run(program, effort, start)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        return Outcome(Status.FAILED, None, reason)


def _checked(program: LinearProgram, outcome: Outcome) -> Outcome:
    """The outcome if its values are a solution, before and after rounding; else a failure."""
    if outcome.values is None:
        return outcome
    fault = program.fault(outcome.values)
    if fault is None:
        values = program.rounded(outcome.values)
        fault = program.fault(values)
    if fault is not None:
        return Outcome(Status.FAILED, None, f"called {outcome.status}, but {fault}")
    return outcome._replace(values=values)
