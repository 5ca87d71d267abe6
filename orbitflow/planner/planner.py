"""From a problem to a plan that may be executed: the fast search, the integer program where it is
asked for, and an independent check of whatever comes out.

A solver that is missing, fails, runs out of effort or returns nonsense costs nothing but quality:
the search's plan stands, and the answer says why.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from orbitflow.planner.check import faults
from orbitflow.planner.problem import Problem
from orbitflow.planner.score import Score, score
from orbitflow.planner.search import search

PROVEN_GAP = 0.02  # of max(loss, 1 token): what a better plan could still save
RELATIVE_GAP = 1e-4  # at which the integer program may stop
SAME = 1e-9  # of max(loss, 1 token): what differs by less loses the same


class Plan(NamedTuple):
    """An option by candidate, REST for who does not run, that has passed the check.

    `gap` is the share of max(loss, 1 token) that a better plan could save at most, infinite where
    that is not known. `trouble` says what went wrong with a solver, if anything did.
    """

    options: tuple[int, ...]
    score: Score
    gap: float
    by: str
    trouble: str = ""

    @property
    def is_proven(self) -> bool:
        """Whether no plan is much better."""
        return self.gap <= PROVEN_GAP


def quick(problem: Problem) -> Plan | None:
    """The fast search's plan; None if no plan fits."""
    found = search(problem)
    if found is None:
        return None
    return _checked(problem, Plan(found.options, found.score, found.gap, "search"))


def as_it_is(problem: Problem, options: tuple[int, ...], by: str = "kept") -> Plan | None:
    """A plan that is given; None if it does not fit."""
    found = score(problem, options)
    return None if found is None else _checked(problem, Plan(options, found, inf, by))


def improve(problem: Problem, start: Plan, nodes: int | None = None) -> Plan:
    """Let the integer program look for something better than `start`, in so many nodes; never
    worse, never unchecked.
    """
    from orbitflow.planner.ilp import solve_ilp  # PuLP takes 0.3 s to import
    from orbitflow.planner.solver import Effort

    found = solve_ilp(problem, effort=Effort(RELATIVE_GAP, nodes), start=start.options)
    if found.plan is None or found.score is None:
        return start._replace(trouble=found.message)
    if wrong := faults(problem, found.plan, found.score):
        return start._replace(trouble=f"the solver's plan is wrong: {wrong[0]}")
    gap = RELATIVE_GAP if found.is_optimal else inf
    if found.score.loss >= start.score.loss - SAME * max(1.0, start.score.loss):
        return start._replace(gap=min(gap, start.gap), trouble=found.message)
    return Plan(found.plan, found.score, min(gap, start.gap), "ilp", found.message)


def _checked(problem: Problem, plan: Plan) -> Plan:
    if wrong := faults(problem, plan.options, plan.score):
        raise AssertionError(f"the plan by {plan.by} is wrong: {wrong[0]}")
    return plan
