"""Which piece of which prompt: boundaries that depend on the prompt only, a budget that holds."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from orbitflow.engine.batch import PrefillQueue
from orbitflow.placement import RESIDENT, HostLayers
from orbitflow.request import Request, RequestState
from orbitflow.step import PrefillChunk


def state(number: int, prompt: int, host: HostLayers = RESIDENT) -> RequestState:
    return RequestState(Request(number, 0.0, prompt, 4), 0.0, 0.1, host, host, order=number)


def take(queue: PrefillQueue, states: dict[int, RequestState]) -> tuple[PrefillChunk, ...]:
    """One pass: the chunks are done, finished prompts leave."""
    chunks, _ = queue.next_chunks()
    for chunk in chunks:
        done = states[chunk.request_id]
        assert chunk.start == done.prefilled_tokens
        done.prefilled_tokens += chunk.tokens
        if chunk.is_last:
            queue.remove(done)
    return chunks


@given(
    st.lists(st.tuples(st.integers(1, 100), st.integers(0, 5)), min_size=1, max_size=10),
    st.integers(1, 40),
    st.lists(st.integers(0, 9), max_size=20),
)
def test_every_token_once_within_the_budget(
    prompts: list[tuple[int, int]], size: int, parks: list[int]
) -> None:
    """Requests come in while others prefill, and are parked and resumed in between."""
    queue = PrefillQueue(size)
    states = {i: state(i, prompt) for i, (prompt, _) in enumerate(prompts)}
    arrivals = [i for i, (_, gap) in enumerate(prompts) for _ in range(gap + 1)]
    seen: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    paused: list[int] = []
    queued: set[int] = set()
    for turn in range(2000):
        if turn < len(arrivals) and arrivals[turn] not in queued:
            queued.add(arrivals[turn])
            queue.add(states[arrivals[turn]])
        for number in paused:
            queue.add(states[number])
        paused.clear()
        if turn < len(parks) and parks[turn] in [s.id for s in queue]:
            paused.append(parks[turn])
            queue.remove(states[parks[turn]])
        was_empty = not list(queue)
        chunks = take(queue, states)
        assert bool(chunks) != was_empty, "whoever is queued makes progress in every pass"
        assert sum(c.tokens for c in chunks) <= size
        assert [c.request_id for c in chunks] == sorted(c.request_id for c in chunks)
        for chunk in chunks:
            seen[chunk.request_id].append((chunk.start, chunk.start + chunk.tokens))
        if turn >= len(arrivals) and not list(queue) and not paused:
            break
    for number, (prompt, _) in enumerate(prompts):
        starts = list(range(0, prompt, size))
        assert seen[number] == [(at, min(at + size, prompt)) for at in starts]


def test_whole_prompts_one_per_pass_and_decode_waits() -> None:
    queue = PrefillQueue(0)
    states = {i: state(i, 1000 + i) for i in range(3)}
    for each in states.values():
        queue.add(each)
    for number in range(3):
        assert not queue.next_chunks()[1]
        (chunk,) = take(queue, states)
        assert (chunk.request_id, chunk.start, chunk.tokens) == (number, 0, 1000 + number)
        assert chunk.is_last
    assert queue.next_chunks() == ((), True)


def test_chunks_share_the_pass_with_decode() -> None:
    queue = PrefillQueue(8)
    queue.add(state(0, 20))
    assert queue.next_chunks()[1]


def test_a_chunk_that_does_not_fit_is_not_cut() -> None:
    """8 a pass: prompt 0 has 4 left, so prompt 1 could have 4 of its 8: it waits instead.

    Otherwise its boundaries would depend on prompt 0. Its last piece of 3 fits beside prompt 2's 5.
    """
    queue = PrefillQueue(8)
    states = {i: state(i, prompt) for i, prompt in enumerate((12, 11, 5))}
    for each in states.values():
        queue.add(each)
    passes = [[(c.request_id, c.tokens) for c in take(queue, states)] for _ in range(4)]
    assert passes == [[(0, 8)], [(0, 4)], [(1, 8)], [(1, 3), (2, 5)]]


def test_a_resumed_prompt_comes_back_to_its_turn() -> None:
    queue = PrefillQueue(8)
    states = {i: state(i, 8) for i in range(3)}
    queue.add(states[1])
    queue.add(states[2])
    queue.add(states[0])
    assert [s.id for s in queue] == [0, 1, 2]


def test_a_chunk_says_where_its_kv_goes_and_what_must_come_back() -> None:
    queue = PrefillQueue(8)
    one = state(0, 20, host=(1, 3))
    queue.add(one)
    (first,), _ = queue.next_chunks()
    assert (first.host_layers, first.streamed_layers) == ((1, 3), (1, 3))
    one.prefilled_tokens = 8
    one.target = (3,)
    (second,), _ = queue.next_chunks()
    assert second.host_layers == (3,)
    assert second.streamed_layers == (1, 3), "what is still on the host must come back once more"
