"""Every trap that HiGHS, CBC and PuLP have laid, and a slow search as the reference."""

from __future__ import annotations

import itertools
import threading
from random import Random

import numpy as np
import pulp
import pytest
from orbitflow.planner.solver import Effort, Status, solve
from reference.programs import FourProblem, FourRow, FourVariable, knapsack, plan, split

from orbitflow.planner.solvers import Answer, SolverName

PROVEN = Effort()
BOTH = pytest.mark.parametrize("solver", [SolverName.HIGHS, SolverName.CBC])


@BOTH
@pytest.mark.parametrize("sense", [pulp.LpMaximize, pulp.LpMinimize])
def test_the_best_in_the_order_asked_for(solver: SolverName, sense: int) -> None:
    answer = solve(*knapsack(sense), solver=solver, effort=PROVEN)
    assert answer.status is Status.OPTIMAL
    assert answer.values == pytest.approx((1, 0.5, 1))
    assert answer.values[0] == answer.values[2] == 1.0  # integers are exact
    assert answer.objective == pytest.approx(11.5 if sense == pulp.LpMaximize else -11.5)


@BOTH
def test_as_good_as_trying_everything(solver: SolverName) -> None:
    for seed in range(12):
        random = Random(seed)
        problem = pulp.LpProblem("any", pulp.LpMinimize)
        xs = [problem.add_variable(f"x{i}", -1, 2, cat=pulp.LpInteger) for i in range(4)]
        cost = [random.randint(-9, 9) for _ in xs]
        problem.setObjective(pulp.lpSum(c * x for c, x in zip(cost, xs, strict=True)))
        rows = []
        for _ in range(3):
            row, limit = [random.randint(-5, 5) for _ in xs], random.randint(-8, 3)
            total = pulp.lpSum(w * x for w, x in zip(row, xs, strict=True))
            sign = random.choice((-1, 1))
            if any(row):
                problem += (total <= limit) if sign == 1 else (total >= -limit)
                rows.append((sign * np.array(row), limit))
        tried = [
            int(np.dot(cost, values))
            for values in itertools.product(range(-1, 3), repeat=4)
            if all(row @ values <= limit for row, limit in rows)
        ]
        answer = solve(problem, xs, solver=solver, effort=PROVEN)
        if tried:
            assert answer.objective == pytest.approx(min(tried)), seed
        else:
            assert answer.status is Status.INFEASIBLE, seed


@BOTH
@pytest.mark.parametrize("effort", [Effort(nodes=2), Effort(seconds=0.2)], ids=["nodes", "seconds"])
def test_a_limit_is_not_an_optimum(solver: SolverName, effort: Effort) -> None:
    """PuLP 3 calls it Optimal for a time limit, and raises a KeyError for HiGHS' nodes."""
    model, _ = split(4, 40, exact=False)
    answer = solve(*model, solver=solver, effort=effort)
    assert answer.status is Status.FEASIBLE
    assert answer.objective is not None
    assert answer.objective > 0


@BOTH
@pytest.mark.parametrize("effort", [Effort(nodes=1), Effort(seconds=0.2)], ids=["nodes", "seconds"])
def test_without_a_solution_there_are_no_values(solver: SolverName, effort: Effort) -> None:
    """PuLP gives the values of a relaxation, or zeros."""
    model, _ = split(5, 50, exact=True)
    answer = solve(*model, solver=solver, effort=effort)
    assert answer == Answer(Status.FAILED, None, (), answer.solver, answer.message)
    assert answer.message


@BOTH
def test_a_start_is_heeded(solver: SolverName) -> None:
    """PuLP 3 drops it silently on the way to HiGHS."""
    model, start = split(5, 50, exact=True)
    answer = solve(*model, solver=solver, effort=Effort(nodes=1), start=start)
    assert answer.status in (Status.OPTIMAL, Status.FEASIBLE)
    assert answer.values == tuple(start)


def test_a_start_does_not_mislead() -> None:
    """CBC 2.10.3 preprocesses these into worse optima, or into fractions that it calls optimal."""
    for seed in range(12):
        problem, variables = plan(seed)
        best = solve(problem, variables, solver=SolverName.HIGHS, effort=PROVEN)
        for start in (best.values, None):
            again = solve(problem, variables, solver=SolverName.CBC, effort=PROVEN, start=start)
            assert again.status is Status.OPTIMAL, seed
            assert again.objective == pytest.approx(best.objective, rel=1e-6), seed


@BOTH
def test_a_start_that_is_no_solution_is_left_out(solver: SolverName) -> None:
    answer = solve(*knapsack(), solver=solver, effort=PROVEN, start=[1, 1, 1])
    assert answer.status is Status.OPTIMAL
    assert answer.message == "start left out: row 0 is 6, not within [-inf, 5]"
    answer = solve(*knapsack(), solver=solver, effort=PROVEN, start=[float("nan"), 0, 0])
    assert answer.status is Status.OPTIMAL


@BOTH
def test_infeasible(solver: SolverName) -> None:
    problem, variables = knapsack()
    problem += variables[1] + variables[2] >= 3
    answer = solve(problem, variables, solver=solver, effort=PROVEN)
    assert answer == Answer(Status.INFEASIBLE, None, (), answer.solver, "")


@BOTH
@pytest.mark.parametrize("cat", [pulp.LpInteger, pulp.LpContinuous])
def test_unbounded_is_a_failure(solver: SolverName, cat: str) -> None:
    """HiGHS has values for it, and calls them feasible."""
    problem = pulp.LpProblem("free", pulp.LpMaximize)
    x, y = problem.add_variable("x", 0, cat=cat), problem.add_variable("y", 0)
    problem.setObjective(x - y)
    problem += x - y >= -1
    answer = solve(problem, [x, y], solver=solver, effort=PROVEN)
    assert answer.status is Status.FAILED
    assert "unbounded" in answer.message


@BOTH
def test_a_problem_without_objective_or_rows(solver: SolverName) -> None:
    problem = pulp.LpProblem("bare", pulp.LpMinimize)
    x = problem.add_variable("x", 3, 3, cat=pulp.LpInteger)
    y = problem.add_variable("y", None, -2)
    problem += y >= -2
    assert solve(problem, [x, y], solver=solver, effort=PROVEN).values == (3, -2)
    empty = solve(pulp.LpProblem("empty"), [], solver=solver, effort=PROVEN)
    assert empty.values == ()


def test_a_forgotten_variable_is_our_own_mistake() -> None:
    problem, variables = knapsack()
    with pytest.raises(ValueError, match="a of the problem is not listed"):
        solve(problem, [variables[0], variables[2]], effort=PROVEN)


@BOTH
def test_the_shape_of_pulp_4(solver: SolverName) -> None:
    """Also a continuous variable without lower bound, which CBC's preprocessing gets wrong."""
    inf = float("inf")
    x = FourVariable("x", -inf, inf, pulp.LpInteger)
    y = FourVariable("y", -inf, 3.0, pulp.LpContinuous)
    rows = [FourRow({x: 1, y: 1}, 2.5), FourRow({x: 2}, 9)]
    problem = FourProblem(FourRow({x: 2, y: 1}), rows)
    answer = solve(problem, [y, x], solver=solver, effort=PROVEN)
    assert answer.values == (-1.5, 4)
    assert answer.objective == 6.5


@BOTH
def test_the_same_answer_every_time(solver: SolverName) -> None:
    (problem, variables), _ = split(3, 30, exact=False)
    first, second = (
        solve(problem, variables, solver=solver, effort=Effort(nodes=50)) for _ in range(2)
    )
    again, _ = split(3, 30, exact=False)
    assert first == second == solve(*again, solver=solver, effort=Effort(nodes=50))


@BOTH
def test_nothing_is_printed(solver: SolverName, capfd: pytest.CaptureFixture[str]) -> None:
    model, start = split(3, 20, exact=False)
    solve(*model, solver=solver, effort=Effort(nodes=5), start=start)
    assert capfd.readouterr() == ("", "")


def test_after_a_solve_with_other_threads() -> None:
    """Both majors of PuLP then say Not Solved, with an objective of 0."""
    import highspy

    for threads in (2, 3):
        highspy.Highs.resetGlobalScheduler(True)
        other = highspy.Highs()
        other.setOptionValue("output_flag", False)
        other.setOptionValue("threads", threads)
        other.addVar(0, 1)
        assert other.run() == highspy.HighsStatus.kOk
        answer = solve(*knapsack(), solver=SolverName.HIGHS, effort=PROVEN)
        assert answer.status is Status.OPTIMAL


@BOTH
def test_from_several_threads(solver: SolverName) -> None:
    answers: list[Answer] = []

    def work() -> None:
        answers.append(solve(*knapsack(), solver=solver, effort=PROVEN))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert {a.status for a in answers} == {Status.OPTIMAL}
    assert len(set(answers)) == 1
