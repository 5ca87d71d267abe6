"""From a question to an answer that may be executed: search, then the ILP where the search proves
too little, and an independent check of whatever comes out.

A solver that is missing, fails, runs out of effort or returns nonsense costs nothing but quality:
the search's plan stands, and the answer says why.
"""

from __future__ import annotations

from typing import NamedTuple

from orbitflow.config import SolverName
from orbitflow.planner.check import faults
from orbitflow.planner.problem import Choice, Problem
from orbitflow.planner.score import Score, score
from orbitflow.planner.search import Found, search

PROVEN_GAP = 0.02  # of pass time: below it the ILP has nothing left to find
MOST_REQUESTS = 8  # that the ILP is given: beyond, it takes longer than a plan lasts


class Answer(NamedTuple):
    """A plan that has passed the check. `is_proven`: nothing is better by more than PROVEN_GAP.

    `trouble` says what went wrong with a solver, if anything did.
    """

    choice: Choice
    score: Score
    is_proven: bool
    by: str
    trouble: str = ""


def quick(problem: Problem) -> Answer | None:
    """The fast search's answer; None if no plan fits."""
    found = search(problem)
    if found is None:
        return None
    if wrong := faults(problem, found.choice, found.score):
        raise AssertionError(f"the search returned a plan that is wrong: {wrong[0]}")
    return Answer(found.choice, found.score, _is_proven(found), "search")


def is_worth_solving(problem: Problem, answer: Answer) -> bool:
    """Whether the ILP should be asked."""
    return not answer.is_proven and len(problem.requests) <= MOST_REQUESTS


def improve(problem: Problem, start: Answer, solver: SolverName, nodes: int) -> Answer:
    """Let the ILP look for something better than `start`; never worse, never unchecked."""
    from orbitflow.planner.ilp import solve_ilp  # PuLP takes 0.3 s to import
    from orbitflow.planner.solver import Effort

    found = solve_ilp(
        problem,
        solver=solver,
        effort=Effort(gap=1e-4, nodes=nodes, seconds=None),
        start=start.choice,
    )
    if found.choice is None:
        return start._replace(trouble=found.message)
    worth = score(problem, found.choice)
    wrong = ["it does not fit"] if worth is None else faults(problem, found.choice, worth)
    if worth is None or wrong:
        return start._replace(trouble=f"the solver's plan is wrong: {wrong[0]}")
    if worth.rank >= start.score.rank:
        return start._replace(is_proven=found.is_optimal, trouble=found.message)
    return Answer(found.choice, worth, found.is_optimal, "ilp", found.message)


def _is_proven(found: Found) -> bool:
    return found.gap is not None and found.gap <= PROVEN_GAP
