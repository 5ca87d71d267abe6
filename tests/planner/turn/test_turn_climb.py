"""Neighbours of a turn: who they may be, and that going to them never loses."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from reference.turns import real_question, tiny_question

from orbitflow.planner.turn.climb import (
    CORE,
    TRIED,
    _in_doubt,
    climb,
    combined,
    near_turn,
    neighbours,
)
from orbitflow.planner.turn.pool import Pool
from orbitflow.planner.turn.question import REST, Question
from orbitflow.planner.turn.solver import _fewest, _greedy
from orbitflow.planner.turn.stream import least


def begun(question: Question) -> Pool:
    """A pool with a turn, if there is one."""
    pool = Pool(question.terms, 0.01)
    pool.offer(_greedy(question.terms))
    if pool.best is None:
        pool.offer(_fewest(question.terms))
    return pool


@pytest.mark.parametrize("count", [1, 2, 12, 40])
def test_neighbours_differ_by_one_or_by_one_for_another(count: int) -> None:
    for seed in range(10):
        question = real_question(seed, count)
        pool, terms = begun(question), question.terms
        if pool.best is None or pool.worth is None:
            continue
        runs = pool.best != REST
        near = near_turn(terms, pool.best, pool.worth)
        swaps = near.swaps()
        found = neighbours(near, swaps, pool.loss)
        assert len(found) <= TRIED
        differs = found != runs
        assert (differs.sum(axis=1) <= 2).all()
        swapped = differs.sum(axis=1) == 2
        assert (found[swapped].sum(axis=1) == runs.sum()).all()
        assert found[:, terms.must_run].all()
        several = combined(near, _in_doubt(swaps), pool.loss)
        assert len(several) <= TRIED
        assert ((several != runs).any(axis=0)).sum() <= CORE
        assert several[:, terms.must_run].all()
        before = pool.loss
        climb(terms, pool)
        assert pool.loss <= before


def test_where_nothing_kinks_a_neighbour_loses_what_was_estimated() -> None:
    """Without host layers and lateness J is linear in who runs, but for T1."""
    question = tiny_question(5, most_members=4)
    roomy = question.__class__(
        question.cost,
        question.limits.__class__(question.limits.layers, 4, 10**6),
        1,
        question.passes,
        tuple(m._replace(due_s=1e9, absent=0, may_rest=True) for m in question.members * 2),
    )
    terms, pool = roomy.terms, begun(roomy)
    assert pool.best is not None
    assert pool.worth is not None
    near, runs = near_turn(terms, pool.best, pool.worth), pool.best != REST
    flips = np.where(runs, -1.0, 1.0)
    for pair in combinations(range(len(runs)), 2):
        change = (near.by_member * flips)[:, list(pair)].sum(axis=1, keepdims=True)
        other = runs.copy()
        other[list(pair)] ^= True
        if other.any():
            truth = least(terms, other[None, :]).loss[0]
            assert near.after(change)[0] == pytest.approx(truth, abs=1e-9)


def test_combinations_are_the_best_of_all_that_differ_in_their_members() -> None:
    for seed in range(30):
        question = real_question(seed, 9)
        pool, terms = begun(question), question.terms
        if pool.best is None or pool.worth is None or terms.must_run.any():
            continue
        near = near_turn(terms, pool.best, pool.worth)
        changes = near.by_member * near.flips
        promises = [
            (float(near.after(changes[:, list(some)].sum(axis=1, keepdims=True))[0]), some)
            for size in range(1, 10)
            for some in combinations(range(9), size)
        ]
        expected = [some for loss, some in sorted(promises) if loss < pool.loss - 1e-9][:8]
        found = {
            tuple(np.flatnonzero(row).tolist())
            for row in combined(near, _in_doubt(near.swaps()), pool.loss) ^ near.runs
        }
        assert found.issuperset(expected), seed
