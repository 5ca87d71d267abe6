"""The integer program against every combination of strides, with both solvers."""

from __future__ import annotations

import pytest
from orbitflow.planner.solver import Effort
from reference.plans import best, random_problem, rounded, worth

from orbitflow.planner.check import faults
from orbitflow.planner.ilp import solve_ilp
from orbitflow.planner.planner import improve, quick
from orbitflow.planner.score import score
from orbitflow.planner.solvers import SolverName

EXACT = Effort(gap=0.0, nodes=None, seconds=None)


@pytest.mark.parametrize("block", range(30))
def test_300_random_problems_are_solved_to_the_optimum(block: int) -> None:
    for seed in range(block * 10, block * 10 + 10):
        problem = random_problem(seed, most_requests=3 if seed % 5 else 4)
        expected = best(problem)
        found = solve_ilp(problem, effort=EXACT)
        if expected is None:
            assert found.choice is None, seed
            assert "no plan fits" in found.message
            continue
        assert found.choice is not None, (seed, found.message)
        assert found.is_optimal
        got = worth(problem, found.choice.options)
        assert got is not None, seed
        want = rounded(expected)
        assert got.loss == pytest.approx(want.loss, rel=2e-6, abs=2e-5), seed
        assert got.pass_s == pytest.approx(want.pass_s, rel=2e-6, abs=2e-6), seed
        claimed = score(problem, found.choice)
        assert claimed is not None
        assert faults(problem, found.choice, claimed) == []


@pytest.mark.parametrize("seed", range(0, 300, 15))
def test_cbc_agrees(seed: int) -> None:
    problem = random_problem(seed, most_requests=3)
    expected = best(problem)
    found = solve_ilp(problem, solver=SolverName.CBC, effort=EXACT)
    if expected is None:
        assert found.choice is None
        return
    assert found.choice is not None, found.message
    got = worth(problem, found.choice.options)
    assert got is not None
    assert got.loss == pytest.approx(expected.loss, rel=1e-4, abs=1e-4)
    assert got.pass_s == pytest.approx(expected.pass_s, rel=1e-4)


def test_a_start_is_never_made_worse_and_the_same_question_has_the_same_answer() -> None:
    for seed in range(40):
        problem = random_problem(seed)
        start = quick(problem)
        if start is None:
            continue
        first = improve(problem, start, SolverName.AUTO, nodes=50)
        again = improve(problem, start, SolverName.AUTO, nodes=50)
        assert first == again
        assert first.score.rank <= start.score.rank
