"""HiGHS in this process, by highspy: the whole model in one call, and a start that it heeds.

* A limit is a status of its own; values count only if HiGHS calls them feasible, and an unbounded
  problem has such values as well.
* Its scheduler belongs to the process: after somebody's solve with another number of threads a
  solve is an error until the scheduler is reset.
* PuLP 4 must be imported before highspy (`linear` does), or the two crash.

`run` releases the GIL; Ctrl-C waits until it returns.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from orbitflow.planner.linear import Floats, LinearProgram
from orbitflow.planner.solvers.base import Effort, Outcome, Solver, Status

_ALONE = threading.Lock()  # a reset of the scheduler must not meet another thread's solve
_OFF = {  # for plans of 4 to 32 requests these cost more than they save
    "mip_allow_restart": False,
    "mip_heuristic_run_feasibility_jump": False,
    "mip_heuristic_run_rens": False,
    "mip_heuristic_run_rins": False,
    "mip_heuristic_run_root_reduced_cost": False,
}


def _missing() -> str | None:
    try:
        import highspy  # noqa: F401
    except ImportError as error:
        return str(error)
    return None


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


HIGHS = Solver("HiGHS", "pip install highspy", _missing, _run)
