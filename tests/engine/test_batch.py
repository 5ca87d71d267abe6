"""The decode batch against sums made from scratch, and the clock that keeps its token times."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitflow.engine.batch import DecodeBatch, PassClock
from orbitflow.placement import HostLayers
from orbitflow.request import Phase, Request, RequestState

PLACES: tuple[HostLayers, ...] = ((), (1,), (1, 3))


def state(number: int, prompt: int, host: HostLayers, target: HostLayers) -> RequestState:
    return RequestState(
        Request(number, 0.0, prompt, 10**6),
        0.0,
        0.1,
        host,
        target,
        generated_before=1,
        prefilled_tokens=prompt,
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from("jlmp"),
            st.integers(0, 30),
            st.sampled_from(PLACES),
            st.sampled_from(PLACES),
            st.integers(0, 3),
        ),
        max_size=40,
    )
)
def test_kept_up_to_date(ops: list[tuple[str, int, HostLayers, HostLayers, int]]) -> None:
    """Joining, leaving, moving and passing, in any order."""
    batch, passes = DecodeBatch(), 0
    running: dict[int, RequestState] = {}
    for number, (kind, pick, host, target, count) in enumerate(ops):
        if kind == "j":
            running[number] = state(number, pick + 1, host, target)
            batch.join(running[number], passes)
        elif running and kind == "l":
            one = running.pop(sorted(running)[pick % len(running)])
            batch.leave(one, passes)
            one.stop(passes, Phase.FINISHED)
        elif running and kind == "m":
            one = running[sorted(running)[pick % len(running)]]
            one.host, one.target = host, target
            batch.touch()
        batch.refresh()
        contexts = {i: s.context_tokens(passes) for i, s in running.items()}
        assert dict(zip(batch.ids, batch.contexts(passes).tolist(), strict=True)) == contexts
        assert batch.context_tokens == sum(contexts.values())
        streamed = sorted(
            (s.streamed_layers, s.target, contexts[i])
            for i, s in running.items()
            if s.streamed_layers
        )
        found = sorted(
            (stream.layers, stream.staged, context)
            for stream in batch.streams(passes)
            for context in stream.contexts.tolist()
        )
        assert found == streamed
        batch.advance(count)
        passes += count


def test_version_grows_with_every_change_and_only_then() -> None:
    batch = DecodeBatch()
    one, two = state(0, 5, (), ()), state(1, 6, (), ())
    versions = [batch.version]

    def refreshed() -> int:
        batch.refresh()
        versions.append(batch.version)
        return versions[-1] - versions[-2]

    assert refreshed() == 0
    batch.join(one, 0)
    batch.join(two, 0)
    assert refreshed() == 1
    batch.advance(3)
    assert refreshed() == 0
    one.host = one.target = (1,)
    batch.touch()
    assert refreshed() == 1
    batch.leave(two, 3)
    assert refreshed() == 1
    assert batch.ids == (0,)


def test_equal_placements_are_one_stream() -> None:
    """Three requests stream layers 1 and 3; one of them is being promoted off layer 3."""
    batch = DecodeBatch()
    batch.join(state(0, 10, (1, 3), (1, 3)), 0)
    batch.join(state(1, 20, (1, 3), (1, 3)), 0)
    batch.join(state(2, 30, (1, 3), (1,)), 0)
    batch.join(state(3, 40, (), ()), 0)
    batch.refresh()
    streams = [(s.layers, s.staged, s.contexts.tolist()) for s in batch.streams(2)]
    assert streams == [((1, 3), (1, 3), [13, 23]), ((1, 3), (1,), [33])]


def test_nobody_streams_when_all_is_resident() -> None:
    batch = DecodeBatch()
    batch.join(state(0, 10, (), ()), 0)
    batch.refresh()
    assert batch.streams(0) == ()


@given(
    st.lists(st.tuples(st.integers(0, 9), st.floats(0, 1), st.floats(0, 1)), max_size=40),
    st.integers(1, 12),
)
def test_as_a_list_that_forgets(steps: list[tuple[int, float, float]], capacity: int) -> None:
    """Whatever is still needed can be asked for at any time."""
    needed = 0
    clock = PassClock(lambda: needed, capacity)
    times: list[float] = []
    for count, forget, ask in steps:
        new = np.arange(len(times), len(times) + count, dtype=np.float64) * 0.5
        clock.append(new)
        times.extend(new.tolist())
        assert clock.passes == len(times)
        needed += int(forget * (len(times) - needed))
        start = needed + int(ask * (len(times) - needed))
        assert clock.between(needed, len(times)).tolist() == times[needed:]
        assert clock.between(needed, start).tolist() == times[needed:start]
        assert clock.between(start, len(times)).tolist() == times[start:]


def test_memory_stays_bounded_while_little_is_needed() -> None:
    newest = 0
    clock = PassClock(lambda: newest - 10, capacity=64)
    for number in range(10_000):
        clock.append(np.array([float(number)]))
        newest = clock.passes
    assert clock.between(9_990, 10_000).tolist() == [float(n) for n in range(9_990, 10_000)]
    with pytest.raises(AssertionError):
        clock.between(0, 1)


def test_what_is_needed_survives_growth() -> None:
    clock = PassClock(lambda: 0, capacity=2)
    for number in range(1000):
        clock.append(np.array([float(number)]))
    assert clock.between(0, 1000).tolist() == [float(n) for n in range(1000)]


def test_one_append_larger_than_everything() -> None:
    clock = PassClock(lambda: 0, capacity=4)
    clock.append(np.arange(3.0))
    clock.append(np.arange(3.0, 100.0))
    assert clock.between(0, 100).tolist() == np.arange(100.0).tolist()


def test_the_future_cannot_be_asked_for() -> None:
    clock = PassClock(lambda: 0)
    clock.append(np.arange(3.0))
    with pytest.raises(AssertionError):
        clock.between(0, 4)
