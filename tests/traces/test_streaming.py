"""A large file costs columns, not objects; a limit stops the reading."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orbitflow.errors import UserError
from orbitflow.request import Request
from orbitflow.traces import Trace, read_trace
from orbitflow.traces.rows import REORDER_LINES

Write = Callable[[str | bytes], Path]


def jsonl(stamps: list[int]) -> str:
    return "".join(
        f'{{"timestamp": {at}, "input_length": {place + 1}, "output_length": 1}}\n'
        for place, at in enumerate(stamps)
    )


def azure(count: int) -> str:
    lines = (
        f"{datetime(2024, 5, 10) + timedelta(seconds=i)}+00:00,{i % 999 + 1},7"
        for i in range(count)
    )
    return "\n".join(("TIMESTAMP,ContextTokens,GeneratedTokens", *lines))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(1, 45))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_limit_gives_the_first_in_order(write: Write, stamps: list[int], limit: int) -> None:
    path = write(jsonl(stamps))
    some, everything = read_trace(path, limit=limit), read_trace(path)
    assert list(some.requests()) == list(everything.requests())[:limit]


def test_reading_stops_after_the_window(write: Write) -> None:
    """A line that is too late by one cannot be among the first; what comes later is not seen."""
    good = jsonl([*range(10, 10 + REORDER_LINES), 3])
    path = write(good + jsonl([20_000]) + "nonsense\n" * 3)
    assert read_trace(path, limit=1).prompt_tokens.tolist() == [REORDER_LINES + 1]
    path = write(good + "nonsense\n" * 3)
    assert read_trace(path, limit=1).prompt_tokens.tolist() == [REORDER_LINES + 1]


def test_notices_are_not_lost_by_a_limit(write: Write) -> None:
    line = '{"timestamp": 0, "input_length": 5, "output_length": 6, "hash_ids": [], "odd": 1}\n'
    trace = read_trace(write(line * 5), limit=2)
    assert len(trace.notices) == 2
    assert "odd" in trace.notices[1]


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_is_at_least_one(write: Write, limit: int) -> None:
    with pytest.raises(UserError, match=f"{limit} requests: must be at least 1"):
        read_trace(write(jsonl([1])), limit=limit)


def peak_bytes(act: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "few", "many"),
    [(azure, 60_000, 200_000), (lambda count: jsonl(list(range(count))), 20_000, 60_000)],
)
def test_what_is_kept_per_request(
    write: Write, text: Callable[[int], str], few: int, many: int
) -> None:
    """Three columns of 8 bytes and room to work; a row as Python objects would be 300 bytes."""
    path = write(text(few))
    small = peak_bytes(lambda: read_trace(path))
    path = write(text(many))
    large = peak_bytes(lambda: read_trace(path))
    assert (large - small) / (many - few) < 64


def test_requests_are_made_one_after_the_other() -> None:
    count = 200_000
    tokens = np.ones(count, np.int64)
    trace = Trace("t", "", "canonical", np.arange(count) / 8, "s", tokens, tokens)

    def walk() -> None:
        requests: Iterator[Request] = trace.requests()
        assert sum(request.prompt_tokens for request in requests) == count

    assert peak_bytes(walk) < 3_000_000


def test_limits_stay_with_their_requests_across_chunks(write: Write) -> None:
    lines = jsonl(list(range(10_000))).splitlines()
    lines[5000] = lines[5000].replace("}", ', "slo_tbt_ms": 5}')
    lines[9000] = lines[9000].replace("}", ', "slo_tbt_ms": 7}')
    requests = list(read_trace(write("\n".join(lines))).requests())
    assert {r.id: r.slo_tbt_s for r in requests if r.slo_tbt_s} == {5000: 0.005, 9000: 0.007}
    assert [r.id for r in requests] == list(range(10_000))
    assert [r.prompt_tokens for r in requests] == list(range(1, 10_001))
