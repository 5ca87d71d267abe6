"""Who waits, runs and is parked, and how one passes to the next."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitflow.engine.queues import Queues
from orbitflow.errors import PolicyError
from orbitflow.request import Phase, Request, RequestState


def roster_of(*lengths: tuple[int, int], batch: int | None = None) -> Queues:
    roster = Queues(batch, 0)
    for number, (prompt, output) in enumerate(lengths):
        roster.submit(Request(number, 0.0, prompt, output))
    return roster


def start(roster: Queues, number: int, passes: int) -> RequestState:
    one = roster.admit(number, (), 0.1, 0.0)
    one.prefilled_tokens = one.request.prompt_tokens
    roster.first_token(one, passes, 1.0)
    return one


def test_a_life() -> None:
    """Three tokens: one by prefill, one, a break of 5 s, another one."""
    roster = roster_of((10, 3))
    one = roster.admit(0, (1,), 0.1, 2.5)
    assert (one.state, one.admitted_s, one.host, one.target) == (Phase.PREFILL, 2.5, (1,), (1,))
    assert [s.id for s in roster.prefills] == [0]
    one.prefilled_tokens = 10
    roster.first_token(one, 7, 3.0)
    assert (one.state, one.history, one.generated_before) == (Phase.RUNNING, [3.0], 1)
    assert list(roster.prefills) == []
    assert roster.next_end() == 9
    assert roster.ended(8) == []
    roster.park(0, 8, 10.0)
    assert (one.state, one.history) == (Phase.PARKED, [3.0, (7, 8)])
    assert roster.parked == {0: one}
    roster.resume(0, 20, 15.0)
    assert (one.state, one.paused_s) == (Phase.RUNNING, 5.0)
    assert roster.next_end() == 21
    assert roster.ended(9) == [], "the end it had before the break does not count any more"
    assert roster.ended(21) == [one]
    roster.retire(one, 21)
    assert (one.state, one.history) == (Phase.FINISHED, [3.0, (7, 8), (20, 21)])
    assert roster.is_empty


def test_parked_while_prefilling() -> None:
    roster = roster_of((10, 3))
    one = roster.admit(0, (), 0.1, 0.0)
    roster.park(0, 4, 1.0)
    assert list(roster.prefills) == []
    assert (one.state, one.history) == (Phase.PARKED, [])
    roster.resume(0, 9, 2.0)
    assert (one.state, [s.id for s in roster.prefills]) == (Phase.PREFILL, [0])


def test_strangers_are_refused() -> None:
    roster = roster_of((10, 3), (10, 3), batch=1)
    roster.admit(0, (), 0.1, 0.0)
    strangers: list[Callable[[], RequestState]] = [
        lambda: roster.admit(0, (), 0.1, 0.0),
        lambda: roster.admit(1, (), 0.1, 0.0),
        lambda: roster.admit(9, (), 0.1, 0.0),
        lambda: roster.park(1, 0, 0.0),
        lambda: roster.resume(0, 0, 0.0),
    ]
    for refused in strangers:
        with pytest.raises(PolicyError, match=r"request [019] cannot be"):
            refused()


def test_the_parked_keep_their_place_in_the_batch() -> None:
    roster = roster_of((10, 3), (10, 3), batch=2)
    assert roster.room == 2
    start(roster, 0, 0)
    roster.park(0, 0, 0.0)
    assert roster.room == 1
    start(roster, 1, 0)
    assert roster.room == 0
    assert not roster.is_open


def test_open_means_that_an_arrival_could_start_at_once() -> None:
    roster = roster_of((10, 3))
    assert not roster.is_open
    start(roster, 0, 0)
    assert roster.is_open
    roster.park(0, 0, 0.0)
    assert not roster.is_open


def test_contexts_of_the_running_and_the_prefilling() -> None:
    roster = roster_of((10, 9), (20, 9), (30, 9))
    start(roster, 0, 0)
    roster.admit(1, (), 0.1, 0.0)
    start(roster, 2, 4)
    assert sorted(roster.contexts(6).tolist()) == [10 + 1 + 6, 20 + 1, 30 + 1 + 2]


def test_the_oldest_pass_that_somebody_needs() -> None:
    roster = roster_of((10, 90), (10, 90), (10, 90))
    assert roster.oldest_needed_pass(5) == 5
    start(roster, 0, 7)
    start(roster, 1, 9)
    assert roster.oldest_needed_pass(12) == 7
    roster.park(0, 12, 0.0)
    assert roster.oldest_needed_pass(15) == 7, "a parked request will want its times as well"
    one = roster.resume(0, 20, 1.0)
    roster.retire(one, 25)
    assert roster.oldest_needed_pass(25) == 9


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 12)), min_size=1, max_size=12),
    st.lists(st.tuples(st.sampled_from("arpx"), st.integers(0, 11)), max_size=60),
)
@settings(derandomize=True, deadline=None)
def test_ends_come_exactly_when_the_last_token_does(
    lengths: list[tuple[int, int]], ops: list[tuple[str, int]]
) -> None:
    """Admit, park, resume and pass in any order; a naive count of tokens knows who is done."""
    roster, passes = roster_of(*lengths), 0
    tokens: dict[int, int] = {}
    for kind, pick in [*ops, *[("x", 0)] * 40]:
        if kind == "a" and pick in roster.waiting:
            start(roster, pick, passes)
            tokens[pick] = 1
        elif kind == "p" and pick in roster.active:
            roster.park(pick, passes, 0.0)
        elif kind == "r" and pick in roster.parked:
            roster.resume(pick, passes, 0.0)
        elif kind == "x" and roster.active:
            passes += 1
            for number in roster.active:
                tokens[number] += tokens[number] < lengths[number][1]
        done = {i for i in roster.active if tokens[i] == lengths[i][1]}
        ended = roster.ended(passes)
        assert {s.id for s in ended} == done
        for one in ended:
            roster.retire(one, passes)
            assert (
                sum(h[1] - h[0] for h in one.history if isinstance(h, tuple))
                >= one.request.output_tokens - 1
            )
        if roster.active:
            left = (lengths[i][1] - tokens[i] for i in roster.active)
            assert roster.next_end() == passes + min(left)


def test_parked_and_resumed_between_two_passes_ends_once() -> None:
    """Prompts of others may prefill meanwhile, without a decode pass."""
    roster = roster_of((10, 2))
    one = start(roster, 0, 0)
    roster.park(0, 0, 0.0)
    roster.resume(0, 0, 1.0)
    assert roster.ended(1) == [one]
