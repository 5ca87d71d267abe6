"""Scaling and jitter keep what they promise: order, bounds, and the same result for a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitflow.errors import UserError
from orbitflow.traces import Trace, scaled


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    rows = draw(
        st.lists(
            st.tuples(st.floats(0, 1e4), st.integers(1, 10**5), st.integers(1, 10**4)),
            min_size=1,
            max_size=40,
        )
    )
    gaps, prompts, outputs = (np.array(column) for column in zip(*rows, strict=True))
    return Trace("any", "", "canonical", np.cumsum(gaps) - gaps[0], "s", prompts, outputs)


@given(traces(), st.floats(0, 0.99), st.integers(0, 2**32))
def test_jitter_bounds_every_gap(trace: Trace, jitter: float, seed: int) -> None:
    shaken = scaled(trace, arrival_jitter=jitter, seed=seed)
    before, after = np.diff(trace.arrival), np.diff(shaken.arrival)
    assert (after >= 0).all()
    assert (after <= before * (1 + jitter) + 1e-8).all()
    assert (after >= before * (1 - jitter) - 1e-8).all()
    assert shaken.arrival[0] == trace.arrival[0]
    same = scaled(trace, arrival_jitter=jitter, seed=seed)
    assert same.arrival.tobytes() == shaken.arrival.tobytes()


def test_another_seed_shakes_differently(small: Trace) -> None:
    one, two = (scaled(small, arrival_jitter=0.5, seed=seed).arrival for seed in (1, 2))
    assert one.tolist() != two.tolist()


@given(traces(), st.floats(0.01, 100), st.floats(0.01, 100), st.floats(0.01, 100))
def test_scales(trace: Trace, rate: float, context: float, output: float) -> None:
    result = scaled(trace, rate_scale=rate, context_scale=context, output_scale=output)
    assert len(result) == len(trace)
    np.testing.assert_allclose(result.arrival * rate, trace.arrival, rtol=1e-9, atol=1e-7)
    for scale, before, after in (
        (context, trace.prompt_tokens, result.prompt_tokens),
        (output, trace.output_tokens, result.output_tokens),
    ):
        assert (after >= 1).all()
        assert (np.abs(np.maximum(before * scale, 1) - after) <= 0.5).all()


@given(traces(), st.integers(1, 40))
def test_a_prefix_of_the_scaled_is_the_scaled_prefix(trace: Trace, count: int) -> None:
    count = min(count, len(trace))
    whole = scaled(trace, rate_scale=3, arrival_jitter=0.3, seed=5)
    part = scaled(trace, rate_scale=3, arrival_jitter=0.3, seed=5, num_requests=count)
    assert part.arrival.tolist() == whole.arrival[:count].tolist()


def test_nothing_asked_nothing_changed(small: Trace) -> None:
    same = scaled(small)
    assert list(same.requests()) == list(small.requests())
    assert same.notices == small.notices


def test_limits_follow_the_requests(small: Trace) -> None:
    assert scaled(small, num_requests=1).slo_tbt_s is None
    two = scaled(small, num_requests=2).slo_tbt_s
    assert two is not None
    assert two[1] == 0.1


def test_more_requests_than_there_are_is_a_notice(small: Trace) -> None:
    result = scaled(small, num_requests=10)
    assert len(result) == 3
    assert result.notices == ("small: 10 requests wanted, the trace has 3",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate_scale": 0.0}, "--rate-scale 0.0: must be finite and more than 0"),
        ({"rate_scale": 1e-320}, "would last over"),
        ({"context_scale": -1.0}, "--context-scale -1.0"),
        ({"context_scale": 1e12}, "--context-scale .* the limit is 1,000,000,000"),
        ({"output_scale": float("nan")}, "--output-scale nan"),
        ({"output_scale": float("inf")}, "--output-scale inf"),
        ({"num_requests": 0}, "0 requests: must be at least 1"),
        ({"arrival_jitter": 1.0}, "jitter 1.0: must be at least 0 and less than 1"),
        ({"arrival_jitter": -0.1}, "jitter -0.1"),
        ({"arrival_jitter": float("nan")}, "jitter nan"),
        ({"arrival_jitter": 0.5, "seed": -1}, "seed -1"),
    ],
)
def test_values_out_of_range(small: Trace, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        scaled(small, **change)
