"""Who holds what on the host: exact where it says so, a bound where it says so."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from reference.turns import tiny_question

from orbitflow.planner.turn import cover as covers
from orbitflow.planner.turn.cover import cover
from orbitflow.planner.turn.question import REST
from orbitflow.planner.turn.stream import least, least_by_group, need, rounded
from orbitflow.planner.turn.whole import whole
from orbitflow.planner.turn.worth import worth_all


@pytest.mark.parametrize("dense", [covers.DENSE, 0])
@pytest.mark.parametrize("seed", range(200))
def test_covers_are_exact(seed: int, dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covers, "DENSE", dense)
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 5))
    room, sizes = random.integers(0, 7, count), random.integers(0, 9, count)
    prices = random.exponential(1, count) * np.maximum(sizes, 0.5) ** (seed % 2)
    pages = int(random.integers(1, 40))
    every = np.array(list(product(*(range(r + 1) for r in room.tolist()))))
    holds = every @ sizes >= pages
    found = cover(room, sizes, prices, pages)
    if found is None:
        assert not holds.any()
        return
    best = (every[holds] @ prices).min()
    assert found.layers @ sizes >= pages
    assert (found.layers <= room).all()
    assert found.layers @ prices == pytest.approx(best)
    assert found.price == pytest.approx(best)
    assert found.least == pytest.approx(best)


@pytest.mark.parametrize("seed", range(100))
def test_covers_are_bounded_where_exact_ones_take_long(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(seed)
    room, sizes = random.integers(1, 7, 4), random.integers(1, 9, 4)
    prices, pages = random.exponential(1, 4) * sizes, int(random.integers(1, 20))
    exact = cover(room, sizes, prices, pages)
    monkeypatch.setattr(covers, "DENSE", 0)
    monkeypatch.setattr(covers, "SPARSE", 0)
    found = cover(room, sizes, prices, pages)
    if exact is None or found is None:
        assert exact == found
        return
    assert found.layers @ sizes >= pages
    assert (found.layers <= room).all()
    assert found.least <= exact.price + 1e-12
    assert exact.price <= found.price + 1e-12
    assert found.price == pytest.approx(found.layers @ prices)


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
        best = worths.loss[same].min()
        assert low <= best + 1e-9, (seed, members)
        if need(terms, runs).pages[0] <= 0:
            continue
        assert low - 1e-9 <= least_by_group(terms, runs)[0] <= best + 1e-9, (seed, members)
        made = whole(terms, runs[0], np.inf)
        assert low - 1e-7 <= made.bound <= best + 1e-9, (seed, members)
        assert ((made.turns != REST) == runs).all()
        loss = worth_all(terms, made.turns).loss[worth_all(terms, made.turns).fits].min()
        assert best - 1e-9 <= loss <= 1.2 * best + 0.01, (seed, members)
        if not terms.absent.any():
            assert made.bound == pytest.approx(loss) == pytest.approx(best)
        cut = low + 0.3 * (best - low)
        assert min(cut, made.bound) - 1e-7 <= whole(terms, runs[0], cut).bound <= best + 1e-9


@pytest.mark.parametrize("seed", range(60))
def test_guessed_turns_have_their_run_sets_and_fit_without_a_ring(seed: int) -> None:
    question = tiny_question(seed, most_members=4)
    terms, count = question.terms, len(question.members)
    every = np.array(list(product((False, True), repeat=count)))
    asked = need(terms, every)
    runs = every[asked.fits & (asked.pages > 0)]
    if not len(runs):
        return
    turns = rounded(terms, runs)
    assert ((turns != REST) == runs).all()
    assert (turns <= terms.layers).all()
    worths = worth_all(terms, turns)
    assert (worths.loss >= least(terms, runs).loss - 1e-9)[worths.fits].all()
    if not terms.ring:
        assert worths.fits.mean() >= 0.5
