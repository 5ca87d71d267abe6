"""Who waits, runs and is parked, and how one passes to the next."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitflow.engine.queues import Queues
from orbitflow.errors import PolicyError
from orbitflow.request import Phase, Request, RequestState


def queues_of(*lengths: tuple[int, int], batch: int | None = None) -> Queues:
    queues = Queues(batch, 0)
    for number, (prompt, output) in enumerate(lengths):
        queues.submit(Request(number, 0.0, prompt, output))
    return queues


def start(queues: Queues, number: int, passes: int) -> RequestState:
    one = queues.admit(number, (), 0.1, 0.0)
    one.prefilled_tokens = one.request.prompt_tokens
    queues.first_token(one, passes, 1.0)
    return one


def test_a_life() -> None:
    """Three tokens: one by prefill, one, a break of 5 s, another one."""
    queues = queues_of((10, 3))
    one = queues.admit(0, (1,), 0.1, 2.5)
    assert (one.phase, one.admitted_s, one.host, one.target) == (Phase.PREFILL, 2.5, (1,), (1,))
    assert [s.id for s in queues.prefills] == [0]
    one.prefilled_tokens = 10
    queues.first_token(one, 7, 3.0)
    assert (one.phase, one.history, one.generated_before) == (Phase.RUNNING, [3.0], 1)
    assert list(queues.prefills) == []
    assert queues.next_end() == 9
    assert queues.ended(8) == []
    queues.pause(0, 8, 10.0)
    assert (one.phase, one.history) == (Phase.PAUSED, [3.0, (7, 8)])
    assert queues.paused == {0: one}
    queues.resume(0, 20, 15.0)
    assert (one.phase, one.paused_s) == (Phase.RUNNING, 5.0)
    assert queues.next_end() == 21
    assert queues.ended(9) == [], "the end it had before the break does not count any more"
    assert queues.ended(21) == [one]
    queues.retire(one, 21)
    assert (one.phase, one.history) == (Phase.FINISHED, [3.0, (7, 8), (20, 21)])
    assert queues.is_empty


def test_parked_while_prefilling() -> None:
    queues = queues_of((10, 3))
    one = queues.admit(0, (), 0.1, 0.0)
    queues.pause(0, 4, 1.0)
    assert list(queues.prefills) == []
    assert (one.phase, one.history) == (Phase.PAUSED, [])
    queues.resume(0, 9, 2.0)
    assert (one.phase, [s.id for s in queues.prefills]) == (Phase.PREFILL, [0])


def test_strangers_are_refused() -> None:
    queues = queues_of((10, 3), (10, 3), batch=1)
    queues.admit(0, (), 0.1, 0.0)
    strangers: list[Callable[[], RequestState]] = [
        lambda: queues.admit(0, (), 0.1, 0.0),
        lambda: queues.admit(1, (), 0.1, 0.0),
        lambda: queues.admit(9, (), 0.1, 0.0),
        lambda: queues.pause(1, 0, 0.0),
        lambda: queues.resume(0, 0, 0.0),
    ]
    for refused in strangers:
        with pytest.raises(PolicyError, match=r"request [019] cannot be"):
            refused()


def test_the_parked_keep_their_place_in_the_batch() -> None:
    queues = queues_of((10, 3), (10, 3), batch=2)
    assert queues.room == 2
    start(queues, 0, 0)
    queues.pause(0, 0, 0.0)
    assert queues.room == 1
    start(queues, 1, 0)
    assert queues.room == 0
    assert not queues.is_open


def test_open_means_that_an_arrival_could_start_at_once() -> None:
    queues = queues_of((10, 3))
    assert not queues.is_open
    start(queues, 0, 0)
    assert queues.is_open
    queues.pause(0, 0, 0.0)
    assert not queues.is_open


def test_contexts_of_the_running_and_the_prefilling() -> None:
    queues = queues_of((10, 9), (20, 9), (30, 9))
    start(queues, 0, 0)
    queues.admit(1, (), 0.1, 0.0)
    start(queues, 2, 4)
    assert sorted(queues.contexts(6).tolist()) == [10 + 1 + 6, 20 + 1, 30 + 1 + 2]


def test_the_oldest_pass_that_somebody_needs() -> None:
    queues = queues_of((10, 90), (10, 90), (10, 90))
    assert queues.oldest_needed_pass(5) == 5
    start(queues, 0, 7)
    start(queues, 1, 9)
    assert queues.oldest_needed_pass(12) == 7
    queues.pause(0, 12, 0.0)
    assert queues.oldest_needed_pass(15) == 7, "a parked request will want its times as well"
    one = queues.resume(0, 20, 1.0)
    queues.retire(one, 25)
    assert queues.oldest_needed_pass(25) == 9


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 12)), min_size=1, max_size=12),
    st.lists(st.tuples(st.sampled_from("arpx"), st.integers(0, 11)), max_size=60),
)
def test_ends_come_exactly_when_the_last_token_does(
    lengths: list[tuple[int, int]], ops: list[tuple[str, int]]
) -> None:
    """Admit, park, resume and pass in any order; a naive count of tokens knows who is done."""
    queues, passes = queues_of(*lengths), 0
    tokens: dict[int, int] = {}
    for kind, pick in [*ops, *[("x", 0)] * 40]:
        if kind == "a" and pick in queues.waiting:
            start(queues, pick, passes)
            tokens[pick] = 1
        elif kind == "p" and pick in queues.active:
            queues.pause(pick, passes, 0.0)
        elif kind == "r" and pick in queues.paused:
            queues.resume(pick, passes, 0.0)
        elif kind == "x" and queues.active:
            passes += 1
            for number in queues.active:
                tokens[number] += tokens[number] < lengths[number][1]
        done = {i for i in queues.active if tokens[i] == lengths[i][1]}
        ended = queues.ended(passes)
        assert {s.id for s in ended} == done
        for one in ended:
            queues.retire(one, passes)
            assert (
                sum(h[1] - h[0] for h in one.history if isinstance(h, tuple))
                >= one.request.output_tokens - 1
            )
        if queues.active:
            left = (lengths[i][1] - tokens[i] for i in queues.active)
            assert queues.next_end() == passes + min(left)


def test_parked_and_resumed_between_two_passes_ends_once() -> None:
    """Prompts of others may prefill meanwhile, without a decode pass."""
    queues = queues_of((10, 2))
    one = start(queues, 0, 0)
    queues.pause(0, 0, 0.0)
    queues.resume(0, 0, 1.0)
    assert queues.ended(1) == [one]
