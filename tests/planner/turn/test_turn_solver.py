"""The turn solver against every turn, and its bound against the truth."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from orbitflow.machine.cost import CostModel
from reference.turns import best_loss, real_question, tiny_question

from orbitflow.planner.turn.check import faults
from orbitflow.planner.turn.pool import Pool
from orbitflow.planner.turn.question import REST, Turn
from orbitflow.planner.turn.search import close
from orbitflow.planner.turn.solver import FINE, _fewest, _greedy, solve


@pytest.mark.parametrize("block", range(10))
def test_few_members_get_the_best_turn(block: int) -> None:
    for seed in range(block * 20, block * 20 + 20):
        question = tiny_question(seed, most_members=4 if seed % 4 == 0 else 3)
        expected, found = best_loss(question), solve(question)
        if expected is None:
            assert found is None, seed
            continue
        assert found is not None, seed
        assert faults(question, found.turn, found.worth) == []
        assert found.bound <= expected + 1e-9, seed
        assert expected - 1e-9 <= found.worth.loss <= 1.01 * expected + 0.01, seed


@pytest.mark.parametrize("block", range(10))
def test_boxes_of_times_keep_their_promise(block: int) -> None:
    """The search that many members get, on questions of which the answer is known."""
    for seed in range(block * 20, block * 20 + 20):
        question = tiny_question(seed, most_members=3)
        expected = best_loss(question)
        if expected is None:
            continue
        pool = Pool(question.terms, 0.01)
        pool.offer(_fewest(question.terms))
        pool.offer(_greedy(question.terms))
        bound = close(question.terms, pool, 2_000)
        assert pool.best is not None
        assert bound <= expected + 1e-9, seed
        assert expected - 1e-9 <= pool.loss <= 1.01 * expected + 0.01, seed


@pytest.mark.parametrize("count", [9, 12, 16, 24, 32, 64])
def test_large_questions_get_a_turn_with_a_proof(count: int) -> None:
    for seed in range(6):
        question = real_question(seed, count)
        found = solve(question)
        if found is None:
            continue
        assert faults(question, found.turn, found.worth) == []
        assert -1e-9 <= found.bound <= found.worth.loss
        assert solve(question) == found


def test_nobody_to_ask_and_one_to_ask() -> None:
    question = tiny_question(0)
    nobody = solve(replace(question, members=()))
    assert nobody is not None
    assert (nobody.turn, nobody.worth.loss, nobody.gap) == (Turn(()), 0, 0)
    roomy = replace(question, limits=replace(question.limits, gpu_pages=10**6))
    alone = solve(replace(roomy, members=(question.members[0]._replace(due_s=inf),)))
    assert alone is not None
    assert alone.turn == Turn((0,))
    assert alone.worth.loss == pytest.approx(0, abs=1e-9)


def test_what_cannot_fit_is_refused() -> None:
    for count in (3, 12):
        question = real_question(1, count)
        nothing = replace(question, limits=replace(question.limits, gpu_pages=5))
        assert solve(nothing) is None


def test_newcomers_that_fit_all_run() -> None:
    question = real_question(4, 20)
    members = tuple(m._replace(due_s=inf, absent=0) for m in question.members)
    limits = replace(question.limits, gpu_pages=10**9)
    found = solve(replace(question, members=members, limits=limits))
    assert found is not None
    assert found.gap <= 0.02
    assert REST not in found.turn.host_layers
    assert set(found.turn.host_layers) == {0}


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 14))
def test_a_bound_is_a_bound(seed: int, count: int) -> None:
    question = real_question(seed, count)
    found = solve(question)
    if found is None:
        return
    assert faults(question, found.turn, found.worth) == []
    assert -1e-9 <= found.bound <= found.worth.loss
    again = solve(question, tolerance=0.0, effort=500)
    assert again is not None
    assert found.bound <= again.worth.loss * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize("by", [3.0, 0.7])
def test_equal_turns_are_told_apart_by_place_not_by_rounding(by: float) -> None:
    """Twins tie exactly; times that are all scaled change nothing, whatever they round to."""
    for seed in range(12):
        question = real_question(3 * seed, 4)
        twins = tuple(m._replace(id=i) for i, m in enumerate(question.members * 2))
        question = replace(question, members=twins)
        cost = question.cost
        slower = [rate / by for rate in cost.h2d.bytes_per_s]
        link = replace(cost.h2d, latency_s=cost.h2d.latency_s * by, bytes_per_s=tuple(slower))
        d = cost.decode
        decode = replace(
            d, base_s=d.base_s * by, request_s=d.request_s * by, token_s=d.token_s * by
        )
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
        later = tuple(m._replace(tau_s=m.tau_s * by, due_s=m.due_s * by) for m in twins)
        plain, other = solve(question), solve(replace(question, cost=scaled, members=later))
        assert (plain and plain.turn) == (other and other.turn), seed


@pytest.mark.parametrize("seed", [115, 241, 259])
def test_what_takes_long_is_proven_coarsely_unless_asked_for_more(seed: int) -> None:
    question = real_question(seed, 16)
    found, finer = solve(question), solve(question, tolerance=FINE)
    assert found is not None
    assert finer is not None
    assert found.gap <= 0.02
    assert finer.bound >= found.bound - 1e-9


@pytest.mark.parametrize("gpu_pages", [0, -7])
def test_where_layers_on_their_way_have_taken_the_whole_gpu_no_turn_fits(gpu_pages: int) -> None:
    for question in (tiny_question(3), real_question(3, 16)):
        full = replace(question, limits=replace(question.limits, gpu_pages=gpu_pages))
        assert solve(full) is None
        assert solve(full, effort=0) is None
