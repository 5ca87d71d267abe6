"""Solvers that are not there, raise, or return garbage."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from orbitflow.planner.linear import read_problem
from orbitflow.planner.solver import Effort, Status, solve
from reference.programs import knapsack

from orbitflow.errors import UserError
from orbitflow.planner import solvers
from orbitflow.planner.solvers import SolverName, available, check_solver
from orbitflow.planner.solvers.base import Outcome, Solver

PROVEN = Effort()


def plant(monkeypatch: pytest.MonkeyPatch, run: Callable[..., Outcome]) -> None:
    """Put a solver in the place of HiGHS."""
    fake = Solver("Fake", "", lambda: None, run)
    monkeypatch.setitem(solvers._SOLVERS, SolverName.HIGHS, fake)


GARBAGE = {
    "2 values for 3 variables": [0.0, 0.0],
    "a value is not a finite number": [0.0, np.inf, 0.0],
    "variable 2 is 0.4999, not an integer": [0.0, 0.0, 0.4999],
    "variable 1 is 1.5, beyond its bounds": [0.0, 1.5, 0.0],
    "row 0 is 6, not within [-inf, 5]": [1.0, 1.0, 1.0],
}


@pytest.mark.parametrize(("fault", "values"), GARBAGE.items(), ids=list(GARBAGE))
@pytest.mark.parametrize("status", [Status.OPTIMAL, Status.FEASIBLE])
def test_garbage_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, status: Status, fault: str, values: list[float]
) -> None:
    plant(monkeypatch, lambda *_: Outcome(status, np.array(values)))
    answer = solve(*knapsack(), effort=PROVEN)
    assert answer[:3] == (Status.FAILED, None, ())
    assert answer.message == f"called {status}, but {fault}"


def test_a_hair_off_is_put_right(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, lambda *_: Outcome(Status.OPTIMAL, np.array([1 - 4e-6, 0.5, 1 + 4e-6])))
    assert solve(*knapsack(), effort=PROVEN).values == (1, 0.5, 1)


@pytest.mark.parametrize("error", [RuntimeError("lost\nit"), MemoryError(), KeyError("x")])
def test_a_solver_that_raises(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def run(*_: Any) -> Outcome:
        raise error

    plant(monkeypatch, run)
    answer = solve(*knapsack(), effort=PROVEN)
    assert answer[:4] == (Status.FAILED, None, (), "Fake")
    assert answer.message.startswith(type(error).__name__)
    assert "\n" not in answer.message


def test_highs_raises_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    import highspy

    def run(_: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(highspy.Highs, "run", run)
    answer = solve(*knapsack(), solver=SolverName.HIGHS, effort=PROVEN)
    assert answer[3:] == ("HiGHS", "RuntimeError: out of luck")
    monkeypatch.undo()
    assert solve(*knapsack(), solver=SolverName.HIGHS, effort=PROVEN).status is Status.OPTIMAL


def test_auto_is_highs() -> None:
    assert available() == (SolverName.HIGHS, SolverName.CBC)
    assert solve(*knapsack(), effort=PROVEN).solver == "HiGHS"


def test_auto_is_cbc_without_highs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highspy", None)
    assert available() == (SolverName.CBC,)
    assert solve(*knapsack(), effort=PROVEN).solver == "CBC"
    check_solver(SolverName.AUTO)
    with pytest.raises(UserError) as caught:
        check_solver(SolverName.HIGHS)
    assert "HiGHS is not there" in str(caught.value)
    assert "pip install highspy" in str(caught.value)
    assert str(caught.value).endswith("; or choose cbc")
    answer = solve(*knapsack(), solver=SolverName.HIGHS, effort=PROVEN)
    assert answer[:3] == (Status.FAILED, None, ())
    assert answer.message == str(caught.value)


def test_no_solver_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highspy", None)
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert available() == ()
    for name in SolverName:
        with pytest.raises(UserError, match="is not there"):
            check_solver(name)
        assert solve(*knapsack(), solver=name, effort=PROVEN).status is Status.FAILED


@pytest.mark.parametrize("field", ["cost", "coefficients", "lower", "row_upper"])
def test_not_a_number_is_refused(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    """HiGHS finds an optimum."""
    problem, variables = knapsack()
    program = read_problem(problem, variables)
    broken: Any = {field: getattr(program, field) * np.nan}
    monkeypatch.setattr(solvers, "read_problem", lambda *_: replace(program, **broken))
    answer = solve(problem, variables, effort=PROVEN)
    assert answer.status is Status.FAILED
    assert answer.message == "the problem has a number that is not finite"
