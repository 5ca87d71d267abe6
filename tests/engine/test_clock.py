"""The shared clock of passes against a plain list."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitflow.engine.batch import PassClock


@given(
    st.lists(st.tuples(st.integers(0, 9), st.floats(0, 1), st.floats(0, 1)), max_size=40),
    st.integers(1, 12),
)
@settings(derandomize=True, deadline=None)
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
