"""The short cuts of the fast search against every plan, and one option for many requests."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.plans import best_loss, loss, real_problem, tiny_problem

from orbitflow.placement import RESIDENT, stride
from orbitflow.planner.check import faults
from orbitflow.planner.hosting import least_with_rest
from orbitflow.planner.problem import REST, Problem
from orbitflow.planner.score import score
from orbitflow.planner.search import LATE, _settled, _staying, search


def test_one_option_for_many_is_found_among_few_run_sets() -> None:
    """Two to the 40 run sets cannot be tried: those in which the latest rest are."""
    rested = 0
    for seed in range(6):
        problem = replace(real_problem(seed, 40, strides=True), is_uniform=True)
        free = tuple(one._replace(may_rest=True) for one in problem.candidates)
        problem = replace(problem, candidates=free)
        found = search(problem)
        assert found is not None
        assert faults(problem, found.options, found.score) == []
        latest = [
            (option,) * runs + (REST,) * (40 - runs)
            for runs in range(1, 41)
            for option in range(len(problem.host_layers))
        ]
        losses = [one.loss for plan in latest if (one := score(problem, plan)) is not None]
        assert found.score.loss <= min(losses) + 1e-9
        rested += REST in found.options
    assert rested


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 3))
def test_nobody_rests_for_less_than_the_bound_says(seed: int, count: int) -> None:
    problem = tiny_problem(seed, most_candidates=count)
    options = range(REST, len(problem.host_layers))
    plans = product(options, repeat=len(problem.candidates))
    losses = [loss(problem, plan) for plan in plans if REST in plan]
    bound = least_with_rest(problem.terms)
    assert all(one is None or one >= bound - 1e-9 for one in losses)


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 4))
def test_all_stay_where_they_are_only_if_nothing_is_better(seed: int, count: int) -> None:
    problem = _where_placements_are(tiny_problem(seed, most_candidates=count))
    stays = _staying(problem)
    if stays is None:
        return
    expected = best_loss(problem)
    assert expected is not None
    assert faults(problem, stays.options, stays.score) == []
    assert stays.score.loss <= expected + 1e-9
    assert stays.score.moved_pages == 0
    settled = _settled(problem, stays.options, stays.score)[0]
    assert settled == _settled_slowly(problem, stays.options) == stays.options


def test_some_stay_where_they_are_and_some_do_not() -> None:
    problems = [_where_placements_are(tiny_problem(seed)) for seed in range(300)]
    stay = [_staying(problem) is not None for problem in problems]
    assert 10 < sum(stay) < 290


def _where_placements_are(problem: Problem) -> Problem:
    """The same, everybody on one of the placements now."""
    placements = problem.placements or (RESIDENT, stride(problem.limits.layers, 1))
    candidates = tuple(
        one._replace(host=placements[row % len(placements)])
        for row, one in enumerate(problem.candidates)
    )
    return replace(problem, placements=placements, candidates=candidates, is_uniform=False)


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 100_000), st.integers(2, 4))
def test_a_settled_plan_is_that_of_every_single_change(seed: int, count: int) -> None:
    problem = replace(tiny_problem(seed, most_candidates=count), is_uniform=False)
    if problem.placements is None:
        return
    kinds = len(problem.placements)
    for plan in product(range(REST, kinds), repeat=len(problem.candidates)):
        found = score(problem, plan)
        if found is None:
            continue
        settled, its_score = _settled(problem, plan, found)
        assert settled == _settled_slowly(problem, plan)
        assert its_score == pytest.approx(score(problem, settled))


def _settled_slowly(problem: Problem, plan: tuple[int, ...]) -> tuple[int, ...]:
    """One candidate's option at a time: least loss, fewest pages moved, least link, first."""
    running = [row for row, option in enumerate(plan) if option != REST]
    for _ in running:
        changes = [
            (*plan[:row], option, *plan[row + 1 :])
            for row in running
            for option in range(len(problem.host_layers))
        ]
        worth = [
            (round(one.loss / LATE), one.moved_pages, round(one.link_s, 12), at)
            for at, change in enumerate(changes)
            if (one := score(problem, change)) is not None
        ]
        best = changes[min(worth)[-1]]
        if best == plan:
            break
        plan = best
    return plan
