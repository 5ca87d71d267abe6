"""The fast search against every combination, and its proofs against the truth."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reference.plans import best, random_problem, rounded, worth

from orbitflow.planner.check import faults
from orbitflow.planner.problem import REST
from orbitflow.planner.search import _two_levels, search


@pytest.mark.parametrize("block", range(10))
def test_few_requests_get_the_best_plan(block: int) -> None:
    for seed in range(block * 30, block * 30 + 30):
        problem = random_problem(seed, most_requests=3)
        expected = best(problem)
        found = search(problem)
        if expected is None:
            assert found is None, seed
            continue
        assert found is not None, seed
        assert found.gap == 0
        got = worth(problem, found.choice.options)
        assert got is not None, seed
        assert rounded(got)[:2] == pytest.approx(rounded(expected)[:2], abs=2e-6), seed
        assert found.score.pass_s == pytest.approx(got.pass_s, rel=1e-12)
        assert found.score.loss == pytest.approx(got.loss, rel=1e-9, abs=1e-9)
        assert found.score.moved_pages == got.moved_pages
        assert faults(problem, found.choice, found.score) == []


@pytest.mark.parametrize("block", range(10))
def test_two_levels_are_never_better_than_the_best_and_keep_their_promise(block: int) -> None:
    proven = 0
    for seed in range(block * 30, block * 30 + 30):
        problem = random_problem(seed)
        if problem.is_uniform:
            continue
        expected, found = best(problem), _two_levels(problem)
        if found is None:
            continue
        assert expected is not None
        assert worth(problem, found.choice.options) is not None
        rank = rounded(expected)
        assert found.score.loss >= rank.loss - 2e-6
        if found.gap is not None:
            proven += 1
            assert rank.loss == 0
            assert found.score.pass_s * (1 - found.gap) <= expected.pass_s * (1 + 1e-9), seed
    assert proven, "a test of proofs wants some"


def test_nobody_rests_before_those_named_earlier() -> None:
    for seed in range(200):
        problem = random_problem(seed)
        order = tuple(reversed(range(len(problem.requests))))
        found = search(replace(problem, rest_order=order))
        if found is None:
            continue
        rests = [found.choice.options[row] == REST for row in order]
        assert rests == sorted(rests, reverse=True)
