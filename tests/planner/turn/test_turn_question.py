"""The terms, the worth and its reference: by hand, and against each other."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import inf
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from orbitflow.machine.cost import CostModel
from orbitflow.machine.profile import DecodeFit, LinkFit, PrefillFit
from reference.turns import real_question, tiny_question

from orbitflow.memory import KvLimits
from orbitflow.planner.turn.check import best_rate, faults, gpu_pages, loss
from orbitflow.planner.turn.question import REST, Member, Question, Turn
from orbitflow.planner.turn.worth import worth, worth_all


def golden() -> Question:
    """Pages of 10 tokens of 100 bytes, 4 layers, 1000 bytes/s, so 0.1 s a page; 2 passes."""
    link = LinkFit(0.0, (1.0,), (1000.0,))
    decode, prefill = DecodeFit(1.0, 0.1, 0.01, 0.0), PrefillFit(0.0, 0.0, 0.0)
    cost = CostModel(4, 10, 100, decode, prefill, link, link, 0.0)
    members = (
        Member(1, 20, 2.0, 3.0, 1.0, 0, True),  # 2 full pages of a layer, 0.2 s
        Member(2, 40, 2.0, 0.0, 0.5, 3, True),  # 4, 0.4 s
    )
    return Question(cost, KvLimits(4, 10, 30), 1, 2, members, 0.5)


def test_a_turn_worked_by_hand() -> None:
    question = golden()
    # Memory: (4 - 0) * 3 + (4 - 1) * 5 + 1 = 28, ring ceil((4 + 3 * 4) / 4) = 4: 32 pages, too many
    assert gpu_pages(question, Turn((0, 1))) == 32
    assert worth(question, Turn((0, 1))) is None
    # one more layer of the second: 12 + 2 * 5 + 2 = 24, ring ceil((8 + 12) / 4) = 5
    turn = Turn((0, 2))
    assert gpu_pages(question, turn) == 29
    found = worth(question, turn)
    assert found is not None
    assert found.gpu_pages == 29
    # compute 1 + 2 * 0.1 + 0.01 (21 + 41) = 1.82; link 2 * 0.4; first max(1.82, 3 * 0.4)
    assert found.pass_s == pytest.approx(1.82)
    assert found.first_pass_s == pytest.approx(1.82)
    # The second's token is 1.82 s late, then (3.64 - 2) less than that: 0.91 tokens of weight 0.5.
    # A token's share of a full machine, base 1 s: 0.1 + 0.21 + 12 / 30 = 0.71 s of the first,
    # 0.1 + 0.41 + 20 / 30 = 1.17667 s of the other, 0.94333 on the average. Both take 32 pages of
    # 30; a page takes 0.1 s, so 1 s has room for 10 more: 32 / 30 of the mean's worth in a second.
    mean_s = (0.71 + 0.51 + 2 / 3) / 2
    first, second, rate = 0.71 / mean_s, (0.51 + 2 / 3) / mean_s, 32 / 30 / mean_s
    assert question.terms.value.tolist() == pytest.approx([0.5 * first, 0.5 * second])
    assert question.terms.price == pytest.approx(0.5 * rate)
    assert found.loss == pytest.approx(0.455 + 0.5 * (rate * 3.64 - 2 * (first + second)))
    # The second rests: 4 * 0.4 s until it is back after two passes, of 1.31 s but counted for 0.8
    # of a full machine's: 1 + 30 / 32 (0.31 + 0.51) = 1.76875 s, tau being 2 s
    pass_s = 0.8 * (1 + 30 / 32 * 0.82)
    assert question.terms.floor_s == pytest.approx(pass_s) == pytest.approx(1.415)
    parked = worth(question, Turn((0, REST)))
    assert parked is not None
    late = (2 * pass_s + 1.6) / 2
    assert parked.late_tokens == pytest.approx(late)
    assert parked.loss == pytest.approx(0.5 * late + 0.5 * (rate * 2 * pass_s - 2 * first))


def test_loading_makes_the_first_pass_longer() -> None:
    question = golden()
    question = replace(question, members=(question.members[1]._replace(context_tokens=140),))
    found = worth(replace(question, limits=KvLimits(4, 10, 100)), Turn((0,)))
    assert found is not None
    assert found.pass_s == pytest.approx(1.1 + 1.41)
    assert found.first_pass_s == pytest.approx(3 * 1.4)


@pytest.mark.parametrize("seed", range(40))
def test_worths_are_those_of_the_definitions(seed: int) -> None:
    question = tiny_question(seed, most_members=3)
    every = list(product(range(REST, question.limits.layers + 1), repeat=len(question.members)))
    worths = worth_all(question.terms, np.array(every, dtype=np.int64))
    for row, host_layers in enumerate(every):
        turn = Turn(host_layers)
        assert worths.loss[row] == pytest.approx(loss(question, turn), rel=1e-9, abs=1e-9)
        assert worths.gpu_pages[row] == gpu_pages(question, turn)
        assert worths.fits[row] == (worth(question, turn) is not None)
        if worths.fits[row]:
            assert faults(question, turn, worths.at(row)) == []
            assert worths.loss[row] >= -1e-9


@pytest.mark.parametrize("seed", range(30))
def test_no_turn_beats_the_rate(seed: int) -> None:
    question = real_question(seed, 12)
    random = Random(seed)
    price = question.token_value * best_rate(question)
    assert question.terms.price == pytest.approx(price, rel=1e-9)
    turns = [
        [
            random.choice((REST, 0, random.randint(0, question.limits.layers)))
            for _ in question.members
        ]
        for _ in range(200)
    ]
    worths = worth_all(question.terms, np.array(turns, dtype=np.int64))
    made = (np.array(turns) != REST) @ question.terms.value * question.passes
    assert (made / worths.span_s <= price * (1 + 1e-9))[worths.fits].all()


def test_what_is_wrong_with_a_turn_is_found() -> None:
    question = golden()
    found = worth(question, Turn((0, 2)))
    assert found is not None
    assert faults(question, Turn((0, 2)), found) == []
    assert "nobody runs" in faults(question, Turn((REST, REST)), found)
    assert "answers for" in faults(question, Turn((0,)), found)[0]
    assert "layers on the host" in faults(question, Turn((0, 5)), found)[0]
    assert "needs 32 GPU pages of 30" in faults(question, Turn((0, 1)), found)[0]
    assert "lost tokens" in faults(question, Turn((0, 2)), found._replace(loss=0.0))[0]
    kept = replace(question, members=tuple(m._replace(may_rest=False) for m in question.members))
    assert "must not be parked" in faults(kept, Turn((0, REST)), found)[0]
    assert worth(kept, Turn((0, REST))) is None


def spread_loads(layers: int, held: list[tuple[int, int]]) -> list[int]:
    """Pages staged by layer, each member's on the layers with least so far."""
    loads = [0] * layers
    for hosted, pages in held:
        for at in sorted(range(layers), key=lambda j: loads[j])[:hosted]:
            loads[at] += pages
    return loads


@settings(derandomize=True, deadline=None)
@given(
    st.integers(1, 8).flatmap(
        lambda layers: st.tuples(
            st.just(layers),
            st.lists(st.tuples(st.integers(1, layers), st.integers(1, 50)), min_size=1),
        )
    )
)
def test_the_ring_term_is_safe(case: tuple[int, list[tuple[int, int]]]) -> None:
    layers, held = case
    loads = spread_loads(layers, held)
    largest = max(pages for _, pages in held)
    assert max(loads) <= sum(loads) / layers + largest * (1 - 1 / layers) + 1e-9


def test_newcomers_are_never_late() -> None:
    question = golden()
    members = tuple(m._replace(due_s=inf) for m in question.members)
    found = worth(replace(question, members=members), Turn((0, REST)))
    assert found is not None
    assert found.late_tokens == 0
