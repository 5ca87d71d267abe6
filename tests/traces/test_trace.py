"""The Trace value: checked, immutable, in seconds or in steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from orbitflow.errors import TraceError, UserError
from orbitflow.request import Request
from orbitflow.traces import Trace


def test_requests_are_numbered_and_missing_limits_are_none(small: Trace) -> None:
    assert list(small.requests()) == [
        Request(0, 0.0, 10, 1),
        Request(1, 0.5, 200, 20, slo_tbt_s=0.1),
        Request(2, 2.0, 3000, 300),
    ]
    assert len(small) == 3


def test_columns_cannot_be_changed(small: Trace) -> None:
    with pytest.raises(ValueError, match="read-only"):
        small.prompt_tokens[0] = 7


def test_the_arrays_given_stay_writable() -> None:
    arrival = np.array([0.0])
    Trace("t", "", "canonical", arrival, "s", np.array([1]), np.array([1]))
    arrival[0] = 1.0


def test_a_limit_that_no_request_has_is_no_column(small: Trace) -> None:
    assert replace(small, slo_tbt_s=np.full(3, np.nan)).slo_tbt_s is None


def test_steps_become_seconds_only_when_told_how_long(small: Trace) -> None:
    steps = replace(small, arrival=np.array([0.0, 10.0, 25.0]), arrival_unit="steps")
    with pytest.raises(TraceError, match="engine steps"):
        steps.requests()
    in_seconds = steps.in_seconds(0.05)
    assert in_seconds.arrival.tolist() == [0.0, 0.5, 1.25]
    assert in_seconds.arrival_unit == "s"
    assert "0.05 s each" in in_seconds.notices[-1]
    assert small.in_seconds(0.05) is small


@pytest.mark.parametrize("step_s", [0.0, -1.0, float("nan"), float("inf"), 1e300])
def test_a_step_must_have_a_sensible_length(small: Trace, step_s: float) -> None:
    with pytest.raises(UserError, match="a step of"):
        replace(small, arrival_unit="steps").in_seconds(step_s)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arrival": np.array([0.0, 2.0, 1.0])}, "not in order"),
        ({"arrival": np.array([-1.0, 2.0, 3.0])}, "negative"),
        ({"arrival": np.array([0.0, 2.0, np.nan])}, "not finite"),
        ({"prompt_tokens": np.array([0, 1, 1])}, "prompt_tokens of 0"),
        ({"output_tokens": np.array([1, 1])}, "2 output_tokens for 3 arrivals"),
        ({"slo_ttft_s": np.array([0.0, 1.0, 1.0])}, "slo_ttft_s"),
        ({"slo_tbt_s": np.array([np.inf, 1.0, 1.0])}, "slo_tbt_s"),
        ({"slo_tbt_s": np.array([1.0])}, "1 slo_tbt_s for 3"),
        ({"arrival": np.array([])}, "no requests"),
    ],
)
def test_nonsense_is_refused(small: Trace, change: dict[str, Any], message: str) -> None:
    with pytest.raises(TraceError, match=message):
        replace(small, **change)
