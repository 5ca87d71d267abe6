"""The integer program against every plan, and what becomes of its plans."""

from __future__ import annotations

import pytest
from reference.plans import best_loss, loss, real_problem, tiny_problem

from orbitflow.planner.check import faults
from orbitflow.planner.ilp import solve_ilp
from orbitflow.planner.planner import improve, quick


@pytest.mark.parametrize("block", range(15))
def test_150_random_problems_are_solved_to_the_optimum(block: int) -> None:
    for seed in range(block * 10, block * 10 + 10):
        problem = tiny_problem(seed, most_candidates=3 if seed % 5 else 4)
        expected, found = best_loss(problem), solve_ilp(problem)
        if expected is None:
            assert found.plan is None, seed
            assert "no plan fits" in found.message
            continue
        assert found.plan is not None, (seed, found.message)
        assert found.score is not None
        assert found.is_optimal
        assert faults(problem, found.plan, found.score) == []
        assert found.score.loss == pytest.approx(expected, rel=1e-5, abs=1e-5), seed
        assert loss(problem, found.plan) == pytest.approx(found.score.loss, rel=1e-9, abs=1e-9)


def test_a_start_is_never_made_worse_and_the_same_problem_has_the_same_answer() -> None:
    better = 0
    for seed in range(60):
        problem = real_problem(seed, 5, strides=seed % 2 == 0)
        start = quick(problem)
        if start is None:
            continue
        first, again = improve(problem, start, nodes=50), improve(problem, start, nodes=50)
        assert first == again
        assert first.score.loss <= start.score.loss
        assert first.trouble == "", "the start is a solution of the program"
        better += first.by == "ilp"
    assert better, "the search stops at half a hundredth"


@pytest.mark.parametrize("strides", [True, False])
def test_a_start_is_heeded(strides: bool) -> None:
    problem = real_problem(3, 6, strides=strides)
    found = quick(problem)
    assert found is not None
    exact = solve_ilp(problem, start=found.options)
    assert exact.message == ""
    assert exact.score is not None
    assert exact.score.loss <= found.score.loss + 1e-5
