"""Who holds what on the host: exact where it says so, a bound where it says so."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from reference.turns import tiny_question

from orbitflow.planner.turn.cover import cover
from orbitflow.planner.turn.question import REST
from orbitflow.planner.turn.stream import exact, least, need, pared, spread
from orbitflow.planner.turn.worth import worth_all


@pytest.mark.parametrize("seed", range(60))
def test_covers_are_exact(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 4))
    room, sizes = random.integers(0, 7, count), random.integers(0, 9, count)
    prices, pages = random.exponential(1, count), int(random.integers(1, 40))
    every = np.array(list(product(*(range(r + 1) for r in room.tolist()))))
    holds = every @ sizes >= pages
    found = cover(room, sizes, prices, pages)
    if found is None:
        assert not holds.any()
        return
    assert found @ sizes >= pages
    assert (found <= room).all()
    assert found @ prices == pytest.approx((every[holds] @ prices).min())


@pytest.mark.parametrize("seed", range(80))
def test_run_sets_lose_at_least_what_is_said_and_fit_if_they_can(seed: int) -> None:
    question = tiny_question(seed, most_members=3)
    terms, count = question.terms, len(question.members)
    every = np.array(list(product(range(REST, terms.layers + 1), repeat=count)), dtype=np.int64)
    worths = worth_all(terms, every)
    for members in product((False, True), repeat=count):
        runs = np.array([members])
        same = ((every != REST) == runs).all(axis=1) & worths.fits
        low, fits = least(terms, runs).loss[0], need(terms, runs).fits[0]
        assert fits == same.any(), (seed, members)
        if not fits:
            assert low == np.inf
            continue
        assert low <= worths.loss[same].min() + 1e-9, (seed, members)
        turns = np.concatenate([spread(terms, runs)[:, 0], exact(terms, runs[0])])
        made = worth_all(terms, turns)
        assert ((turns != REST) == runs).all()
        assert made.fits.any()
        for turn in turns[made.fits]:
            before = worth_all(terms, turn[None, :]).loss[0]
            after = worth_all(terms, pared(terms, turn)[None, :])
            assert after.fits[0]
            assert after.loss[0] <= before
