"""The terms and the score by hand, and every plan's against the definitions."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.lines import lines
from reference.plans import loss, tiny_problem

from orbitflow.machine.cost import CostModel
from orbitflow.machine.line_passes import DecodeFit, LinePasses, PrefillFit
from orbitflow.machine.pipeline import Overlap
from orbitflow.machine.profile import LinkFit
from orbitflow.memory import KvLimits
from orbitflow.planner import check
from orbitflow.planner.problem import REST, Candidate, PlanWeights, Problem
from orbitflow.planner.score import score, score_all
from orbitflow.policy.orbit.prices import prices


def golden() -> Problem:
    """Pages of 10 tokens of 100 bytes, 4 layers, 1000 bytes/s, so 0.1 s a page; 2 passes."""
    link = LinkFit(0.0, (1.0,), (1000.0,))
    decode, prefill = DecodeFit(1.0, 0.1, 0.01, 0.0), PrefillFit(0.0, 0.0, 0.0)
    cost = CostModel(4, 10, 100, LinePasses(decode, prefill), link, link, 0.0)
    limits = KvLimits(4, 10, 30)
    candidates = (
        Candidate(1, 20, 2.0, 3.0, (), True),  # 2 full pages of a layer, 0.2 s
        Candidate(2, 40, 2.0, 0.0, (1, 2, 3), True, 0.5),  # 4, 0.4 s
    )
    weights = prices(cost, limits, 2, candidates, 0.5)
    return Problem(cost, limits, Overlap.RING, 1, 2, candidates, None, weights)


def test_a_plan_of_spread_layers_worked_by_hand() -> None:
    problem = golden()
    # Memory: (4 - 0) * 3 + (4 - 1) * 5 + 1 = 28, ring ceil((4 + 3 * 4) / 4) = 4: 32 pages, too many
    assert check.gpu_pages(problem, (0, 1)) == 32
    assert score(problem, (0, 1)) is None
    # one more layer of the second: 12 + 2 * 5 + 2 = 24, ring ceil((8 + 12) / 4) = 5
    assert check.gpu_pages(problem, (0, 2)) == 29
    found = score(problem, (0, 2))
    assert found is not None
    assert found.gpu_pages == 29
    assert found.moved_pages == 4
    # compute 1 + 2 * 0.1 + 0.01 (21 + 41) = 1.82; link 2 * 0.4; first max(1.82, 3 * 0.4)
    assert found.pass_s == pytest.approx(1.82)
    assert found.first_pass_s == pytest.approx(1.82)
    # The second's token is 1.82 s late, then (3.64 - 2) less than that: 0.91 tokens of weight 0.5.
    # A token's share of a full machine, base 1 s: 0.1 + 0.21 + 12 / 30 = 0.71 s of the first,
    # 0.1 + 0.41 + 20 / 30 = 1.17667 s of the other, 0.94333 on the average. Both take 32 pages of
    # 30; a page takes 0.1 s, so 1 s has room for 10 more: 32 / 30 of the mean's worth in a second.
    mean_s = (0.71 + 0.51 + 2 / 3) / 2
    first, second, rate = 0.71 / mean_s, (0.51 + 2 / 3) / mean_s, 32 / 30 / mean_s
    assert problem.weights.token_values == pytest.approx((0.5 * first, 0.5 * second))
    assert problem.weights.second == pytest.approx(0.5 * rate)
    assert found.loss == pytest.approx(0.455 + 0.5 * (rate * 3.64 - 2 * (first + second)))
    # The second rests: 4 * 0.4 s until it is back after two passes, of 1.31 s but counted for 0.8
    # of a full machine's: 1 + 30 / 32 (0.31 + 0.51) = 1.76875 s, the limit being 2 s
    pass_s = 0.8 * (1 + 30 / 32 * 0.82)
    assert problem.weights.least_pass_s == pytest.approx(pass_s) == pytest.approx(1.415)
    paused = score(problem, (0, REST))
    assert paused is not None
    late = (2 * pass_s + 1.6) / 2
    assert paused.late_tokens == pytest.approx(late)
    assert paused.loss == pytest.approx(0.5 * late + 0.5 * (rate * 2 * pass_s - 2 * first))


def test_a_plan_of_strides_worked_by_hand() -> None:
    placements = ((), (3,), (1, 3))
    weights = PlanWeights((0.05, 0.05), 0.1)
    problem = replace(golden(), placements=placements, weights=weights)
    # 4 * 3 and 2 * 5 + 2 = 24, and the group of the second: 28. Of its host layers 1, 2, 3 it keeps
    # 1 and 3; layer 2 is loaded to stay.
    found = score(problem, (0, 2))
    assert found is not None
    assert found.gpu_pages == 28
    assert found.moved_pages == 4
    assert found.link_s == pytest.approx(0.8)
    # 0.91 late tokens of weight 0.5, and 3.64 s of the window
    assert found.loss == pytest.approx(0.455 + 0.364)
    # With both streaming there are two groups, wherever their layers are.
    assert check.gpu_pages(problem, (1, 2)) == 3 * 3 + 1 + 12 + 2 + 4
    # The paper's pipeline starts afresh: of 1.82 s 0.82 belong to layers, of which the link has
    # three to hide behind; X = 0.8 s, so 0.8 - 0.615 s of stall.
    afresh = replace(problem, overlap=Overlap.PAPER)
    outside_s = lines(problem.cost).decode.outside_s
    stalled = score(afresh, (0, 2))
    assert stalled is not None
    behind_s = (1.82 - outside_s) * 3 / 4
    assert stalled.pass_s == pytest.approx(1.82 + max(0.0, 0.8 - behind_s))


def test_loading_makes_the_first_pass_longer() -> None:
    problem = golden()
    one = problem.candidates[1]._replace(context_tokens=140)
    limits = KvLimits(4, 10, 100)
    weights = prices(problem.cost, limits, 2, (one,), 0.5)
    found = score(replace(problem, limits=limits, candidates=(one,), weights=weights), (0,))
    assert found is not None
    assert found.pass_s == pytest.approx(1.1 + 1.41)
    assert found.first_pass_s == pytest.approx(3 * 1.4)


@pytest.mark.parametrize("seed", range(60))
def test_scores_are_those_of_the_definitions(seed: int) -> None:
    problem = tiny_problem(seed, most_candidates=3)
    options = range(REST, len(problem.host_layers))
    every = list(product(options, repeat=len(problem.candidates)))
    scores = score_all(problem.terms, np.array(every, dtype=np.int64))
    for row, plan in enumerate(every):
        expected, found = loss(problem, plan), score(problem, plan)
        assert (found is None) == (expected is None)
        assert scores.loss[row] == pytest.approx(check.loss(problem, plan), rel=1e-9, abs=1e-9)
        assert scores.gpu_pages[row] == check.gpu_pages(problem, plan)
        if found is not None and expected is not None:
            assert check.faults(problem, plan, found) == []
            assert found.loss == pytest.approx(expected, rel=1e-9, abs=1e-9)
            assert found.loss >= -1e-9


def test_newcomers_are_never_late() -> None:
    problem = golden()
    candidates = tuple(one._replace(due_s=inf) for one in problem.candidates)
    found = score(replace(problem, candidates=candidates), (0, REST))
    assert found is not None
    assert found.late_tokens == 0


def spread_loads(layers: int, held: list[tuple[int, int]]) -> list[int]:
    """Pages staged by layer, each candidate's on the layers with least so far."""
    loads = [0] * layers
    for hosted, pages in held:
        for at in sorted(range(layers), key=lambda j: loads[j])[:hosted]:
            loads[at] += pages
    return loads


@given(
    st.integers(1, 8).flatmap(
        lambda layers: st.tuples(
            st.just(layers),
            st.lists(st.tuples(st.integers(1, layers), st.integers(1, 50)), min_size=1),
        )
    )
)
def test_the_ring_of_spread_layers_is_safe(case: tuple[int, list[tuple[int, int]]]) -> None:
    layers, held = case
    loads = spread_loads(layers, held)
    largest = max(pages for _, pages in held)
    assert max(loads) <= sum(loads) / layers + largest * (1 - 1 / layers) + 1e-9
