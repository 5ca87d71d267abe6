"""The fast search against every plan, its bounds against the truth, and the program beyond."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.plans import best_loss, loss, real_problem, tiny_problem

from orbitflow.machine.cost import CostModel
from orbitflow.placement import RESIDENT, stride
from orbitflow.planner.check import faults
from orbitflow.planner.hosting import least_with_rest
from orbitflow.planner.ilp import solve_ilp
from orbitflow.planner.problem import REST, Problem
from orbitflow.planner.score import score
from orbitflow.planner.search import LATE, _settled, _staying, search
from orbitflow.planner.solver import Effort

PROVEN = 0.01  # of max(loss, 1 token)


def all_but_best(found: float, best: float) -> bool:
    """Whether a loss is within a hundredth of the best, or of a token."""
    return best - 1e-6 * max(1.0, best) <= found <= best + 0.01 * max(1.0, best)


@pytest.mark.parametrize("block", range(10))
def test_few_candidates_get_the_best_plan_with_a_proof(block: int) -> None:
    for seed in range(block * 30, block * 30 + 30):
        problem = tiny_problem(seed, most_candidates=4 if seed % 4 == 0 else 3)
        expected, found = best_loss(problem), search(problem)
        if expected is None:
            assert found is None, seed
            continue
        assert found is not None, seed
        assert faults(problem, found.options, found.score) == []
        assert found.score.loss == pytest.approx(loss(problem, found.options), rel=1e-9, abs=1e-9)
        assert all_but_best(found.score.loss, expected), seed
        assert found.bound <= expected + 1e-9, seed
        assert found.gap <= PROVEN, seed


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 3))
def test_any_small_problem(seed: int, count: int) -> None:
    problem = tiny_problem(seed, most_candidates=count)
    expected, found = best_loss(problem), search(problem)
    assert (expected is None) == (found is None)
    if expected is not None and found is not None:
        assert all_but_best(found.score.loss, expected)
        assert found.bound <= expected + 1e-9


@pytest.mark.parametrize("seed", range(40))
def test_as_good_as_the_integer_program(seed: int) -> None:
    count = 16 if seed % 8 == 0 else 2 + seed % 9
    problem = real_problem(seed, count, strides=seed % 2 == 0)
    found = search(problem)
    start = None if found is None else found.options
    exact = solve_ilp(problem, effort=Effort(1e-4, 2000), start=start)
    if exact.score is None or found is None:
        assert exact.score is None, exact.message
        assert found is None
        return
    assert found.score.loss <= exact.score.loss + 0.01 * max(1.0, exact.score.loss)
    assert found.bound <= exact.score.loss + 1e-5 * max(1.0, exact.score.loss)


@pytest.mark.parametrize("strides", [True, False])
@pytest.mark.parametrize("count", [4, 8])
def test_up_to_eight_requests_are_proven(count: int, strides: bool) -> None:
    gaps = []
    for seed in range(40):
        found = search(real_problem(seed, count, strides=strides, layers=80))
        if found is not None:
            gaps.append(found.gap)
    assert len(gaps) > 10
    assert sum(gap <= 0.02 for gap in gaps) >= 0.95 * len(gaps)


@pytest.mark.parametrize("strides", [True, False])
@pytest.mark.parametrize("count", [9, 12, 24, 64])
def test_many_candidates_get_a_plan_that_holds(count: int, strides: bool) -> None:
    for seed in range(6):
        problem = real_problem(seed, count, strides=strides)
        found = search(problem)
        if found is None:
            continue
        assert faults(problem, found.options, found.score) == []
        assert found.bound <= found.score.loss
        assert search(problem) == found


def test_nobody_rests_before_those_named_earlier() -> None:
    rested = 0
    for seed in range(200):
        problem = tiny_problem(seed)
        order = tuple(reversed(range(len(problem.candidates))))
        problem = replace(problem, rest_order=order)
        found = search(problem)
        if found is None:
            continue
        rests = [found.options[row] == REST for row in order]
        assert rests == sorted(rests, reverse=True)
        assert faults(problem, found.options, found.score) == []
        rested += any(rests)
    assert rested


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


def test_nobody_to_ask_and_one_to_ask() -> None:
    problem = tiny_problem(0)
    roomy = replace(problem, limits=replace(problem.limits, gpu_pages=10**6))
    none = replace(roomy, candidates=(), weights=roomy.weights._replace(token_values=()))
    nobody = search(none)
    assert nobody is not None
    assert nobody.options == ()
    one = problem.candidates[0]._replace(due_s=inf, host=())
    weights = roomy.weights._replace(token_values=roomy.weights.token_values[:1])
    alone = search(replace(roomy, candidates=(one,), weights=weights))
    assert alone is not None
    assert alone.options == (0,)


@pytest.mark.parametrize("gpu_pages", [0, -7, 5])
def test_what_cannot_fit_is_refused(gpu_pages: int) -> None:
    """Layers on their way to the GPU may have taken all of it, and more."""
    for count in (3, 16):
        for strides in (True, False):
            problem = real_problem(3, count, strides=strides)
            full = replace(problem, limits=replace(problem.limits, gpu_pages=gpu_pages))
            assert search(full) is None


def test_newcomers_that_fit_all_run() -> None:
    problem = real_problem(4, 20, strides=False)
    candidates = tuple(one._replace(due_s=inf, host=()) for one in problem.candidates)
    limits = replace(problem.limits, gpu_pages=10**9)
    found = search(replace(problem, candidates=candidates, limits=limits))
    assert found is not None
    assert set(found.options) == {0}


@pytest.mark.parametrize("by", [3.0, 0.7])
def test_equal_plans_are_told_apart_by_place_not_by_rounding(by: float) -> None:
    """Twins tie exactly; times that are all scaled change nothing, whatever they round to."""
    for seed in range(12):
        problem = real_problem(3 * seed, 4, strides=False)
        twins = tuple(c._replace(id=i) for i, c in enumerate(problem.candidates * 2))
        values = problem.weights.token_values * 2
        weights = problem.weights._replace(token_values=values)
        plain = replace(problem, candidates=twins, weights=weights)
        assert _options(plain) == _options(_scaled(plain, by)), seed


def _options(problem: Problem) -> tuple[int, ...] | None:
    found = search(problem)
    return None if found is None else found.options


def _scaled(problem: Problem, by: float) -> Problem:
    cost, d = problem.cost, problem.cost.decode
    slower = tuple(rate / by for rate in cost.h2d.bytes_per_s)
    link = replace(cost.h2d, latency_s=cost.h2d.latency_s * by, bytes_per_s=slower)
    decode = replace(d, base_s=d.base_s * by, request_s=d.request_s * by, token_s=d.token_s * by)
    scaled = CostModel(
        cost.layers,
        cost.page_tokens,
        cost.page_bytes,
        decode,
        cost.prefill,
        link,
        cost.d2h,
        cost.link_slowdown,
    )
    later = tuple(
        c._replace(tbt_limit_s=c.tbt_limit_s * by, due_s=c.due_s * by) for c in problem.candidates
    )
    weights = problem.weights
    weights = weights._replace(
        second=weights.second / by,
        least_pass_s=weights.least_pass_s * by,
    )
    return replace(problem, cost=scaled, candidates=later, weights=weights)
