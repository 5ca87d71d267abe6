"""Solve a PuLP problem with HiGHS and believe nothing: the one place that knows its quirks.

An answer is OPTIMAL or FEASIBLE only if its values keep every bound, row and integrality of the
problem, checked here; whatever else happens, a crash included, is a status and never an exception.
HiGHS gets one thread and no randomness: the same problem has the same answer. It runs in this
process, by highspy: the whole model in one call, and a start that it heeds.

* A limit is a status of its own; values count only if HiGHS calls them feasible, and an unbounded
  problem has such values as well.
* Its scheduler belongs to the process: after somebody's solve with another number of threads a
  solve is an error until the scheduler is reset.
* PuLP 4 must be imported before highspy (`linear` does), or the two crash.

`solve` releases the GIL; signals, Ctrl-C among them, wait until HiGHS returns.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
import pulp

from orbitflow.engine.signals import held_back
from orbitflow.errors import UserError
from orbitflow.planner.linear import Floats, LinearProgram, read_problem

_ALONE = threading.Lock()  # a reset of the scheduler must not meet another thread's solve
_OFF = {  # for plans of 4 to 32 requests these cost more than they save
    "mip_allow_restart": False,
    "mip_heuristic_run_feasibility_jump": False,
    "mip_heuristic_run_rens": False,
    "mip_heuristic_run_rins": False,
    "mip_heuristic_run_root_reduced_cost": False,
}


class Status(StrEnum):
    """What became of a problem."""

    OPTIMAL = "optimal"  # to within the gap asked for
    FEASIBLE = "feasible"  # stopped at a limit with values in hand
    INFEASIBLE = "infeasible"
    FAILED = "failed"  # no usable answer; the message says why


class Effort(NamedTuple):
    """When to stop: relative gap, nodes of the search tree (1: its root), seconds.

    Only nodes give the same answer on every machine; simulators never give seconds.
    """

    gap: float = 0.0
    nodes: int | None = None
    seconds: float | None = None


class Outcome(NamedTuple):
    """HiGHS' own word. Values are there iff the status is OPTIMAL or FEASIBLE."""

    status: Status
    values: Floats | None = None
    message: str = ""


class Solved(NamedTuple):
    """What came out. Objective and values are there iff the status is OPTIMAL or FEASIBLE."""

    status: Status
    objective: float | None
    values: tuple[float, ...]
    message: str


def solve(
    problem: pulp.LpProblem,
    variables: Sequence[pulp.LpVariable],
    *,
    effort: Effort,
    start: Sequence[float] | None = None,
) -> Solved:
    """Solve a problem; *variables*, all of them, order the values of answer and *start*.

    A start that is no solution is left out, and the message says so. Raise a ValueError if the
    problem uses a variable that is not listed.
    """
    program = read_problem(problem, variables)
    begin = None if start is None else np.array(start, dtype=float)
    unfit = None if begin is None else program.fault(begin)
    if begin is not None:
        begin = None if unfit else program.rounded(begin)
    outcome = _checked(program, _attempt(program, effort, begin))
    said = (outcome.message, f"start left out: {unfit}" if unfit else "")
    message = "; ".join(part for part in said if part)
    if outcome.values is None:
        return Solved(outcome.status, None, (), message)
    values, objective = tuple(outcome.values.tolist()), program.objective(outcome.values)
    return Solved(outcome.status, objective, values, message)


def check_solver() -> None:
    """Raise a UserError if HiGHS is not there."""
    try:
        import highspy  # noqa: F401
    except ImportError as error:
        raise UserError(f"HiGHS is not there ({error}): pip install highspy") from None


def _attempt(program: LinearProgram, effort: Effort, start: Floats | None) -> Outcome:
    """Run HiGHS, whatever it does."""
    if not program.is_finite():
        return Outcome(Status.FAILED, None, "the problem has a number that is not finite")
    with held_back():  # what a handler raises is no failure of HiGHS
        try:
            check_solver()
            return _run(program, effort, start)
        except UserError as error:
            return Outcome(Status.FAILED, None, str(error))
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


def _run(program: LinearProgram, effort: Effort, start: Floats | None) -> Outcome:
    import highspy

    statuses = highspy.HighsModelStatus
    with _ALONE:
        highs = _loaded(program, effort, start)
        if highs.run() == highspy.HighsStatus.kError:
            highspy.Highs.resetGlobalScheduler(True)
            highs = _loaded(program, effort, start)
            highs.run()
        if highs.getModelStatus() == statuses.kUnboundedOrInfeasible:  # presolve cannot tell
            highs.setOptionValue("presolve", "off")
            highs.run()
        status = highs.getModelStatus()
        has_values = highs.getInfo().primal_solution_status == highspy.kSolutionStatusFeasible
        values = np.array(highs.getSolution().col_value, dtype=float)
    stopped = (
        *(statuses.kTimeLimit, statuses.kSolutionLimit, statuses.kIterationLimit),
        *(statuses.kInterrupt, statuses.kMemoryLimit),
    )
    if status == statuses.kInfeasible:
        return Outcome(Status.INFEASIBLE)
    if has_values and status == statuses.kOptimal:
        return Outcome(Status.OPTIMAL, values)
    if has_values and status in stopped:
        return Outcome(Status.FEASIBLE, values)
    said = highs.modelStatusToString(status).lower()
    return Outcome(Status.FAILED, None, said + (", no solution" if status in stopped else ""))


def _loaded(program: LinearProgram, effort: Effort, start: Floats | None) -> Any:
    """A HiGHS that is ready to run."""
    import highspy

    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    options = {
        "threads": 1,
        "mip_rel_gap": effort.gap,
        "mip_max_nodes": effort.nodes,
        "time_limit": effort.seconds,
    }
    for name, value in (options | _OFF).items():
        if value is not None:  # an option that this version lacks is left out
            highs.setOptionValue(name, value)
    if highs.passModel(_model(program)) == highspy.HighsStatus.kError:
        raise ValueError("HiGHS refuses the model")
    if start is not None:
        highs.setSolution(len(start), np.arange(len(start), dtype=np.int32), start)
    return highs


def _model(program: LinearProgram) -> Any:
    import highspy

    model, kinds = highspy.HighsLp(), highspy.HighsVarType
    model.num_col_, model.num_row_ = len(program.cost), len(program.row_lower)
    model.col_cost_ = program.sign * program.cost
    model.col_lower_, model.col_upper_ = program.lower, program.upper
    model.row_lower_, model.row_upper_ = program.row_lower, program.row_upper
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = program.row_starts
    model.a_matrix_.index_ = program.columns
    model.a_matrix_.value_ = program.coefficients
    if program.is_integer.any():
        integrality = (kinds.kContinuous, kinds.kInteger)
        model.integrality_ = [integrality[i] for i in program.is_integer.tolist()]
    return model
