"""A server whose passes follow one fit, served from end to end."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

import orbitflow as of
from orbitflow.machine.catalog import resolve_profile
from orbitflow.machine.pass_fit import PassFit
from orbitflow.machine.profile import Profile

FIT = PassFit(
    host_s=0.002,
    chunk_host_s=0.004,
    tokens=(1.0, 64.0, 1064.0),
    token_s=(0.010, 0.010, 0.110),
    outside_gpu_s=0.001,
    request_s=1e-4,
    context_s=1e-6,
    beside_chunks=0.5,
    pair_s=1e-8,
)


def machine() -> Profile:
    return replace(resolve_profile("h100-roofline"), decode=None, prefill=None, passes=FIT)


def test_one_request_by_hand() -> None:
    """Its prompt takes 2 + 4 + 60 ms and 564 x 282 pairs; a pass 12.1 ms and 1 us a token."""
    request = of.Request(0, 0.0, 564, 3)
    result = of.simulate([request], "no-offload", profile=machine())
    row = result.requests("no-offload")
    assert row["ttft_s"][0] == pytest.approx(0.066 + 564 * 282e-8)
    assert row["tpot_s"][0] == pytest.approx(0.0121 + 1e-6 * (565 + 566) / 2)


@pytest.mark.parametrize("policy", ["no-offload", "dynamic", "orbitflow", "orbit", "neo"])
def test_no_policy_beats_the_bound(policy: str) -> None:
    requests = [of.Request(i, i * 0.05, 300 + 40 * i, 5 + i) for i in range(24)]
    result = of.simulate(
        requests, policy, profile=machine(), bound=True, kv_capacity_tokens=6000, max_batch=8
    )
    figures, bound = result.summary.policies[policy], result.summary.bound
    assert bound is not None
    for name in (field.name for field in fields(bound)):
        assert getattr(figures, name) <= getattr(bound, name) * (1 + 1e-6), name
