"""Bounds at any prices, of any box, against every turn in it."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from orbitflow.arrays import IntArray
from reference.turns import real_question, tiny_question

from orbitflow.planner.turn.boxes import Boxes, point, roots
from orbitflow.planner.turn.prices import raised
from orbitflow.planner.turn.question import REST, Question
from orbitflow.planner.turn.relaxed import Relaxation
from orbitflow.planner.turn.worth import worth_all


def fitting(question: Question) -> IntArray:
    """Every turn that fits."""
    numbers = range(REST, question.limits.layers + 1)
    every = np.array(list(product(numbers, repeat=len(question.members))), dtype=np.int64)
    return every[worth_all(question.terms, every).fits]


@pytest.mark.parametrize("seed", range(40))
def test_no_turn_in_a_box_loses_less_than_its_bound(seed: int) -> None:
    question = tiny_question(seed, most_members=3)
    terms, turns = question.terms, fitting(question)
    if not len(turns):
        return
    worths = worth_all(terms, turns)
    boxes = roots(terms, float(worths.loss.max()) + 1)
    random = np.random.default_rng(seed)
    scale = terms.price * terms.passes
    shape = (len(boxes.low_pass_s), 4)
    for prices in (np.zeros(shape), scale * random.exponential(1, shape) * [1, 1, 1, 1e-3]):
        relaxation = Relaxation(terms)
        bounds = relaxation.bounds(relaxation.faces(boxes), prices)
        for row, turn in enumerate(turns):
            at = point(terms, worth_all(terms, turn[None, :]).at(0), turn)
            inside = within(boxes, at, is_charged=terms.ring > 0)
            if (boxes.last_group < 0).all() and turn.max() > 0:
                continue  # where everything fits, nobody gains from the host
            is_best_at_home = worths.loss[row] > worths.loss.min() + 1e-9
            assert inside.any() or is_best_at_home, (seed, turn)
            assert (bounds.floor[inside] <= worths.loss[row] + 1e-9).all(), (seed, turn)


@pytest.mark.parametrize("seed", range(60))
def test_nor_in_a_box_without_anybody_on_the_host(seed: int) -> None:
    question = tiny_question(seed, most_members=3)
    terms, turns = question.terms, fitting(question)
    turns = turns[turns.max(axis=1, initial=REST) <= 0]
    if not len(turns) or not terms.ring:
        return
    worths = worth_all(terms, turns)
    boxes = roots(terms, float(worths.loss.max()) + 1)
    count, relaxation = len(boxes.low_pass_s), Relaxation(terms)
    if (boxes.last_group >= 0).all():
        sides = np.full(count, 2)
        boxes = boxes.halves(sides, np.zeros(count, dtype=np.int64)).take(np.arange(count))
    assert (boxes.last_group == -1).all()
    scale = terms.price * terms.passes
    for pages in (1e-3, 1e-1):
        prices = np.tile([scale, scale / 9, scale / 9, scale * pages], (count, 1))
        floor = relaxation.bounds(relaxation.faces(boxes), prices).floor
        for row, turn in enumerate(turns):
            at = point(terms, worths.at(row), turn)
            inside = within(boxes, at, is_charged=True)
            assert (floor[inside] <= worths.loss[row] + 1e-9).all(), (seed, turn)


def within(boxes: Boxes, at: Boxes, *, is_charged: bool) -> np.ndarray:
    """Which boxes hold a turn whose times are a point; without a ring, groups do not matter."""
    pass_s, more_s, group = at.low_pass_s[0], at.low_more_s[0], at.last_group[0]
    if not is_charged and (boxes.last_group >= 0).all():
        group = max(group, 0)
    inside = (boxes.low_pass_s <= pass_s) & (pass_s <= boxes.high_pass_s)
    inside &= (boxes.low_more_s <= more_s) & (more_s <= boxes.high_more_s + 1e-12)
    hosted: np.ndarray = inside & (boxes.first_group <= group) & (group <= boxes.last_group)
    return hosted


@pytest.mark.parametrize("seed", range(40))
def test_who_runs_in_a_turn_of_a_box_is_not_settled_to_rest(seed: int) -> None:
    question = tiny_question(seed, most_members=3)
    terms, turns = question.terms, fitting(question)
    random = np.random.default_rng(seed)
    for turn in turns[random.permutation(len(turns))[:40]]:
        at = point(terms, worth_all(terms, turn[None, :]).at(0), turn)
        runs = turn != REST
        some = at._replace(must_run=at.must_run | (runs & (random.random(len(runs)) < 0.5)))
        for box in (at, some, at._replace(must_run=runs[None, :])):
            assert not (box.settled(terms).must_rest & runs).any()


def test_who_takes_longer_than_a_box_is_at_rest() -> None:
    terms = tiny_question(3).terms
    boxes = roots(terms, 50.0)
    least = terms.base_s + terms.compute_s.min() / 2
    short = boxes._replace(high_pass_s=np.full_like(boxes.high_pass_s, least))
    assert short.settled(terms).must_rest.all()
    absent = terms._replace(absent=np.full_like(terms.absent, terms.layers))
    nothing = np.zeros_like(boxes.high_more_s)
    instant = boxes._replace(high_pass_s=nothing, high_more_s=nothing)
    assert instant.settled(absent).must_rest.all()


def test_halves_are_a_box() -> None:
    question = tiny_question(3)
    boxes = roots(question.terms, 50.0)
    count = len(boxes.low_pass_s)
    nobody = np.zeros(count, dtype=np.int64)
    for side in range(4):
        halves = boxes.halves(np.full(count, side), nobody)
        assert (halves.low_pass_s[:count] == boxes.low_pass_s).all()
        assert (halves.high_pass_s[count:] == boxes.high_pass_s).all()
        assert (halves.high_pass_s[:count] == halves.low_pass_s[count:]).all() == (side == 0)
        assert halves.must_rest[count:, 0].all() == (side == 3)
        assert not (halves.must_run & halves.must_rest)[:count].any()


@pytest.mark.parametrize("seed", range(20))
def test_many_prices_at_once_say_what_each_says(seed: int) -> None:
    terms = tiny_question(seed, most_members=4).terms
    relaxation, boxes = Relaxation(terms), roots(terms, 50.0)
    count = len(boxes.low_pass_s)
    must_run = boxes.must_run.copy()
    must_run[::3, 0] = True
    boxes = boxes._replace(must_run=must_run, must_rest=~must_run & boxes.must_rest)
    faces = relaxation.faces(boxes)
    trials = np.random.default_rng(seed).exponential(1, (count, 5, 4)) * terms.price
    floors = relaxation.floors(faces, trials)
    for trial in range(5):
        assert floors[:, trial] == pytest.approx(relaxation.bounds(faces, trials[:, trial]).floor)


@pytest.mark.parametrize("seed", range(20))
def test_steps_never_make_a_bound_worse(seed: int) -> None:
    terms = real_question(seed, 12).terms
    relaxation = Relaxation(terms)
    faces = relaxation.faces(roots(terms, 50.0))
    count = len(faces.loss)
    prices = np.full((count, 4), terms.price)
    before = relaxation.bounds(faces, prices).floor
    better, bounds = raised(relaxation, faces, prices, np.ones(count), 3, np.inf)
    assert (bounds.floor >= before).all()
    assert bounds.floor == pytest.approx(relaxation.bounds(faces, better).floor)
    assert (better >= 0).all()


@pytest.mark.parametrize("seed", range(20))
def test_ranks_are_parted_below_the_largest_group_in_use(seed: int) -> None:
    """Both parts are the whole range, neither is empty, and neither bound falls."""
    terms = real_question(seed, 16).terms
    relaxation, boxes = Relaxation(terms), roots(terms, 200.0)
    count = len(boxes.low_pass_s)
    prices = np.random.default_rng(seed).exponential(1, (count, 4)) * terms.price
    prices[:, 1] *= 1e-3
    bounds = relaxation.bounds(relaxation.faces(boxes), prices)
    group = relaxation.largest_hosted(boxes, bounds, prices)
    assert (group <= boxes.last_group).all()
    used, most = relaxation.ring_pages(group), relaxation.ring_pages(boxes.last_group)
    assert (used[group < 0] == 0).all()
    assert (used <= most).all()
    nobody = np.zeros(count, dtype=np.int64)
    halves = boxes.halves(np.full(count, 2), nobody, group)
    ranges = boxes.last_group > boxes.first_group
    inside = (group > boxes.first_group) & ranges
    assert (halves.last_group[:count] + 1 == halves.first_group[count:]).all()
    assert (halves.first_group[:count] == boxes.first_group).all()
    assert (halves.last_group[count:] == boxes.last_group).all()
    assert (halves.first_group[count:] == group)[inside].all()
    for part in (halves.take(np.arange(count)), halves.take(np.arange(count, 2 * count))):
        proper = part.first_group <= part.last_group
        assert proper[ranges & (boxes.first_group >= 0)].all()
        floor = relaxation.bounds(relaxation.faces(part), prices).floor
        assert (floor >= bounds.floor - 1e-9)[ranges & proper].all()
