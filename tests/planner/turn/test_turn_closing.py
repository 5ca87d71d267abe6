"""What a box leaves to be tried: everything in it that could still be worth having."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from reference.turns import tiny_question

from orbitflow.planner.turn import closing
from orbitflow.planner.turn.boxes import point, roots
from orbitflow.planner.turn.closing import Closing
from orbitflow.planner.turn.question import REST
from orbitflow.planner.turn.relaxed import Relaxation
from orbitflow.planner.turn.worth import worth_all


@pytest.mark.parametrize("seed", range(60))
def test_no_turn_below_the_cut_is_left_out(seed: int) -> None:
    question = tiny_question(seed, most_members=3)
    terms, count = question.terms, len(question.members)
    every = np.array(list(product(range(REST, terms.layers + 1), repeat=count)), dtype=np.int64)
    worths = worth_all(terms, every)
    turns, losses = every[worths.fits], worths.loss[worths.fits]
    if not len(turns):
        return
    random = np.random.default_rng(seed)
    cut = float(random.uniform(losses.min(), losses.max() + 0.1))
    boxes = roots(terms, float(losses.max()) + 1).settled(terms)
    relaxation, closes = Relaxation(terms), Closing(terms)
    prices = terms.price * terms.passes * random.exponential(1, (len(boxes.low_pass_s), 4))
    bounds = relaxation.bounds(relaxation.faces(boxes), prices * [1, 1, 1, 1e-3])
    doubt = closes.in_doubt(bounds, cut)
    for row in np.flatnonzero(bounds.floor < cut).tolist():
        left = closes.left(boxes, bounds, row, doubt[row], cut)
        assert left is not None
        sets = {tuple(runs) for runs in left.tolist()}
        assert len(sets) == len(left)
        for turn, loss in zip(turns, losses, strict=True):
            at = point(terms, worth_all(terms, turn[None, :]).at(0), turn)
            inside = boxes.low_pass_s[row] <= at.low_pass_s[0] <= boxes.high_pass_s[row]
            inside &= boxes.low_more_s[row] <= at.low_more_s[0] <= boxes.high_more_s[row]
            inside &= boxes.first_group[row] <= at.last_group[0] <= boxes.last_group[row]
            if inside and loss < cut - 1e-9:
                assert tuple((turn != REST).tolist()) in sets


def test_many_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    question = tiny_question(3)
    terms, boxes = question.terms, roots(question.terms, 1e6)
    relaxation, closes = Relaxation(terms), Closing(terms)
    bounds = relaxation.bounds(relaxation.faces(boxes), np.zeros((len(boxes.low_pass_s), 4)))
    everybody = ~terms.must_run
    assert everybody.sum() > 1
    row = int(bounds.floor.argmin())
    found = closes.left(boxes, bounds, row, everybody, 1e9)
    assert found is not None
    monkeypatch.setattr(closing, "LEFT", len(found) - 1)
    assert closes.left(boxes, bounds, row, everybody, 1e9) is None
    monkeypatch.setattr(closing, "LEFT", len(found))
    monkeypatch.setattr(closing, "IN_DOUBT", int(everybody.sum()) - 1)
    assert closes.left(boxes, bounds, row, everybody, 1e9) is None
