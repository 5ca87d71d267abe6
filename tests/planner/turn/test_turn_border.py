"""Bounds of many run sets at once: never above the truth, never below what one fraction says."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from reference.turns import real_question, tiny_question

from orbitflow.planner.turn.border import least_by_range
from orbitflow.planner.turn.pool import Pool
from orbitflow.planner.turn.question import REST
from orbitflow.planner.turn.solver import _fewest, _greedy
from orbitflow.planner.turn.stream import least, least_by_group, need
from orbitflow.planner.turn.worth import worth_all


@pytest.mark.parametrize("seed", range(120))
def test_no_turn_of_a_run_set_loses_less(seed: int) -> None:
    question = tiny_question(seed, most_members=3)
    terms, count = question.terms, len(question.members)
    every = np.array(list(product(range(REST, terms.layers + 1), repeat=count)), dtype=np.int64)
    worths = worth_all(terms, every)
    sets = np.array(list(product((False, True), repeat=count)))
    asked = need(terms, sets)
    sets = sets[asked.fits & (asked.pages > 0)]
    if not len(sets):
        return
    best = np.array(
        [worths.loss[worths.fits & ((every != REST) == runs).all(axis=1)].min() for runs in sets]
    )
    bound, plain = least_by_range(terms, sets, np.inf), least_by_group(terms, sets)
    assert (bound <= best + 1e-9).all()
    assert (bound >= plain - 1e-7).all()
    for share in (0.0, 0.4, 1.0):
        for row, runs in enumerate(sets):
            cut = float(plain[row] + share * (best[row] - plain[row]))
            found = least_by_range(terms, runs[None, :], cut)[0]
            assert min(cut, bound[row]) - 1e-7 <= found <= best[row] + 1e-9


@pytest.mark.parametrize("count", [5, 12, 40])
def test_turns_with_many_layers_lose_no_less(count: int) -> None:
    """Random layers of random run sets, of machines where hosting takes some of many."""
    for seed in range(24):
        terms, random = real_question(seed, count).terms, np.random.default_rng(seed)
        runs = random.random((40, count)) < random.random((40, 1))
        asked = need(terms, runs)
        runs = runs[asked.fits & (asked.pages > 0)]
        if not len(runs):
            continue
        bound = least_by_range(terms, runs, np.inf)
        assert (bound >= least(terms, runs).loss - 1e-7).all()
        for _ in range(20):
            part = random.random(runs.shape) < random.random((len(runs), 1))
            layers = np.where(part, terms.layers, terms.absent.astype(np.int64))
            layers = np.where(random.random(runs.shape) < 0.1, random.integers(0, 20), layers)
            worths = worth_all(terms, np.where(runs, np.minimum(layers, terms.layers), REST))
            assert (bound <= worths.loss * (1 + 1e-9) + 1e-9)[worths.fits].all(), seed


def test_pools_are_sharpened_to_no_more_than_their_turns() -> None:
    for seed in range(40):
        terms = real_question(seed, 24).terms
        pool = Pool(terms, 0.01)
        pool.offer(_greedy(terms))
        if pool.best is None:
            pool.offer(_fewest(terms))
        before = pool.floor
        pool.sharpen(np.inf)
        assert before <= pool.floor
        pool.prove(1000)
        assert pool.floor <= pool.loss * (1 + 1e-12)
