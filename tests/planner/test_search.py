"""The fast search against every plan, its bounds against the truth, and the program beyond."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.plans import best_loss, loss, real_problem, tiny_problem

from orbitflow.machine.cost import CostModel
from orbitflow.planner.check import faults
from orbitflow.planner.ilp import solve_ilp
from orbitflow.planner.problem import REST, Problem
from orbitflow.planner.search import search
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
