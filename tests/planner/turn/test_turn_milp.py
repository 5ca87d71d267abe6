"""The integer program against every turn, and the solver against the integer program."""

from __future__ import annotations

import pytest
from orbitflow.planner.solver import Effort
from reference.turns import best_loss, real_question, tiny_question

from orbitflow.planner.solvers import SolverName
from orbitflow.planner.turn.check import faults
from orbitflow.planner.turn.milp import solve_milp
from orbitflow.planner.turn.question import Turn
from orbitflow.planner.turn.solver import solve


@pytest.mark.parametrize("block", range(6))
def test_random_questions_are_solved_to_the_optimum(block: int) -> None:
    for seed in range(block * 10, block * 10 + 10):
        question = tiny_question(seed, most_members=3)
        expected, found = best_loss(question), solve_milp(question)
        if expected is None:
            assert found.turn is None, seed
            assert "no turn fits" in found.message
            continue
        assert found.turn is not None, (seed, found.message)
        assert found.worth is not None
        assert found.is_optimal
        assert faults(question, found.turn, found.worth) == []
        assert found.worth.loss == pytest.approx(expected, rel=1e-5, abs=1e-5), seed


@pytest.mark.parametrize("seed", range(0, 40, 8))
def test_cbc_agrees(seed: int) -> None:
    question = tiny_question(seed, most_members=3)
    expected, found = best_loss(question), solve_milp(question, solver=SolverName.CBC)
    if expected is None:
        assert found.turn is None
        return
    assert found.worth is not None, found.message
    assert found.worth.loss == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(50))
def test_500_random_questions_are_solved_as_well_as_by_the_integer_program(block: int) -> None:
    for seed in range(block * 10, block * 10 + 10):
        count = 2 + seed % 5 if seed % 25 else 16
        question = real_question(seed, count)
        found = solve(question)
        start = None if found is None else found.turn
        exact = solve_milp(question, effort=Effort(gap=1e-4), start=start)
        if exact.worth is None or found is None:
            assert exact.worth is None, (seed, exact.message)
            assert found is None, seed
            continue
        assert exact.is_optimal, seed
        assert found.worth.loss <= 1.01 * exact.worth.loss + 0.01, seed
        assert found.bound <= exact.worth.loss + 1e-6 + 1e-5 * exact.worth.loss, seed


def test_a_start_is_heeded_and_nobody_needs_no_program() -> None:
    question = real_question(3, 6)
    found = solve(question)
    assert found is not None
    exact = solve_milp(question, start=found.turn)
    assert exact.message == ""
    assert exact.worth is not None
    assert exact.worth.loss <= found.worth.loss + 1e-5
    empty = type(question)(question.cost, question.limits, 2, 4, ())
    assert solve_milp(empty).turn == Turn(())
