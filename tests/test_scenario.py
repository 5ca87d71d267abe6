"""Offered load, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from orbitflow.machine.cost import CostModel
from orbitflow.machine.line_passes import DecodeFit, LinePasses, PrefillFit
from orbitflow.machine.profile import LinkFit
from orbitflow.scenario import OfferedLoad, offered_load

LINK = LinkFit(0.0, (1.0,), (1e9,))
COST = CostModel(
    layers=4,
    page_tokens=16,
    page_bytes=1024,
    passes=LinePasses(DecodeFit(0.02, 0.001, 1e-5, 0.0), PrefillFit(0.005, 1e-4, 1e-7)),
    h2d=LINK,
    d2h=LINK,
    link_slowdown=0.0,
)


def load_of(
    requests: list[tuple[float, int, int]], capacity: int, batch: int | None = None
) -> OfferedLoad:
    arrival, prompt, output = (np.array(column) for column in zip(*requests, strict=True))
    return offered_load(arrival.astype(float), prompt, output, COST, capacity, batch)


def test_two_requests_far_apart() -> None:
    """Requests of 90 + 10 tokens in 1,000: ten in a pass of 20 + 10 + 10 = 40 ms.

    Prefill 5 ms + 9 ms + 1e-7 x 4,050 = 14.405 ms each; over 10 s: 0.002881.
    Decode 20 tokens x 40 ms / 10 = 80 ms: 0.008.
    Each stays 14.405 + 400 ms and holds 95 tokens of 1,000 meanwhile, of 10.414405 s in all.
    """
    load = load_of([(0.0, 90, 10), (10.0, 90, 10)], 1000)
    assert load.span_s == 10
    assert load.prefill == pytest.approx(0.002881)
    assert load.decode == pytest.approx(0.008)
    assert load.compute == pytest.approx(0.010881)
    assert load.kv_peak == pytest.approx(0.095)
    assert load.kv_mean == pytest.approx(0.095 * 2 * 0.414405 / 10.414405)
    assert load.kv_time_over == 0


def test_a_burst_has_the_span_of_its_own_work() -> None:
    load = load_of([(5.0, 90, 10)] * 20, 1000)
    assert load.compute == pytest.approx(1)
    assert load.span_s == pytest.approx(20 * 0.014405 + 200 * 0.004)


def test_a_burst_that_wants_twice_the_capacity() -> None:
    """Twenty requests hold 95 tokens each, all at once: 1.9 of the capacity, all the time."""
    load = load_of([(0.0, 90, 10)] * 20, 1000)
    assert load.kv_peak == pytest.approx(1.9)
    assert load.kv_mean == pytest.approx(1.9)
    assert load.kv_time_over == pytest.approx(1)


def test_a_batch_limit_makes_decode_dearer() -> None:
    """Two in a pass of 20 + 2 + 2 = 24 ms: 12 ms a token instead of 4."""
    free = load_of([(0.0, 90, 10), (10.0, 90, 10)], 1000)
    limited = load_of([(0.0, 90, 10), (10.0, 90, 10)], 1000, batch=2)
    assert limited.decode == pytest.approx(3 * free.decode)
    assert limited.prefill == free.prefill


def test_a_request_larger_than_the_capacity_is_alone_in_its_pass() -> None:
    """5,000 tokens: 20 + 1 + 50 = 71 ms a token."""
    load = load_of([(0.0, 4990, 10), (100.0, 4990, 10)], 1000)
    assert load.decode == pytest.approx(20 * 0.071 / 100)
    assert load.kv_peak == pytest.approx(4.995)


def test_twice_the_rate_is_twice_the_load() -> None:
    slow = load_of([(float(i), 50 + i, 5 + i) for i in range(20)], 500)
    fast = load_of([(i / 2, 50 + i, 5 + i) for i in range(20)], 500)
    assert fast.prefill == pytest.approx(2 * slow.prefill)
    assert fast.decode == pytest.approx(2 * slow.decode)
