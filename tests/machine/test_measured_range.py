"""How far measurements reach, and what is said beyond."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orbitflow.config import RunConfig
from orbitflow.machine.catalog import resolve_profile
from orbitflow.machine.profile import (
    MeasuredPoint,
    MeasuredRange,
    Profile,
    extrapolated,
    measured_range,
)
from orbitflow.scenario import build_scenario


def point(curve: str, *varied: float) -> MeasuredPoint:
    return MeasuredPoint(curve, varied, 0.01, 0.01, 0.0, 3, False)


@pytest.fixture
def measured() -> Profile:
    points = (
        point("decode", 1, 4000), point("decode", 8, 900), point("prefill", 2000, 0),
        point("prefill", 512, 1536), point("h2d", 1e6),
    )  # fmt: skip
    base = resolve_profile("a5000-llama3-8b-paper")
    return replace(base, points=points, measured_kv_tokens=4096)


def test_the_range_is_the_largest_of_everything(measured: Profile) -> None:
    assert measured_range(measured) == MeasuredRange(8, 4000, 2048)
    assert measured_range(replace(measured, points=())) is None


def test_what_lies_beyond_is_said(measured: Profile) -> None:
    assert extrapolated(measured, 8, 4096, 2000) == []
    assert extrapolated(replace(measured, points=()), None, 10**6, 10**6) == []
    (said,) = extrapolated(measured, 64, 100_000, 5000)
    assert "up to 64 requests (measured: 8)" in said
    assert "100,000 tokens of KV (measured: 4,000)" in said
    assert "prompts of 5,000 tokens (measured: 2,048)" in said
    (said,) = extrapolated(measured, None, 4096, 2000)
    assert "batches of any number of requests" in said


def test_a_measured_profile_brings_its_batch(measured: Profile) -> None:
    def max_batch(**options: int) -> int | None:
        config = RunConfig(trace="demo", policies=("no-offload",), **options)  # type: ignore[arg-type]
        return build_scenario(config, profile=measured).max_batch

    assert max_batch() == 8
    assert max_batch(max_batch=32) == 32
    assert max_batch(max_batch=0) is None
    scenario = build_scenario(RunConfig(trace="demo", max_batch=32), profile=measured)
    assert any("is extrapolated" in notice for notice in scenario.notices)
