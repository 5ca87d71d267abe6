"""Where the limits come from, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from orbitflow.machine.cost import CostModel
from orbitflow.machine.profile import DecodeFit, LinkFit, PrefillFit

from orbitflow.request import Request
from orbitflow.slo import MEAN_OVER_REQUESTS, Slo, full_pass_s, mean_final_context

LINK = LinkFit(0.0, (1.0,), (1e9,))
COST = CostModel(
    layers=4,
    page_tokens=16,
    page_bytes=1024,
    decode=DecodeFit(0.02, 0.001, 1e-5, 0.0),
    prefill=PrefillFit(0.005, 1e-4, 1e-7),
    h2d=LINK,
    d2h=LINK,
    link_slowdown=0.0,
)


def test_a_full_pass_fills_the_capacity() -> None:
    """Ten requests of 100 tokens: 20 ms + 10 x 1 ms + 1,000 x 0.01 ms = 40 ms."""
    assert full_pass_s(COST, 1000, None, 100.0) == pytest.approx(0.04)


def test_a_small_batch_cannot_fill_it() -> None:
    """Four requests, 400 tokens: 20 + 4 + 4 = 28 ms."""
    assert full_pass_s(COST, 1000, 4, 100.0) == pytest.approx(0.028)
    assert full_pass_s(COST, 1000, 11, 100.0) == pytest.approx(0.04)


def test_parts_of_requests_count() -> None:
    """Half a request of 2,000 tokens: 20 + 0.5 + 10 = 30.5 ms."""
    assert full_pass_s(COST, 1000, None, 2000.0) == pytest.approx(0.0305)


def test_mean_final_context() -> None:
    assert mean_final_context(np.array([100, 200]), np.array([10, 30])) == 170


def test_mean_final_context_looks_at_the_first_hundred_thousand() -> None:
    prompts = [5] * MEAN_OVER_REQUESTS + [10**6] * 10
    outputs = [1] * len(prompts)
    assert mean_final_context(np.array(prompts), np.array(outputs)) == 6


def test_limits_of_requests() -> None:
    """TTFT: 2 s + 5 x (5 ms + 1,000 x 0.1 ms + 1e-7 x 500,000) = 2.775 s."""
    slo = Slo(0.1, 2.0, 5.0, "")
    plain = Request(0, 0.0, 1000, 10)
    assert slo.tau_of(plain) == 0.1
    assert slo.ttft_of(plain, COST) == pytest.approx(2.775)


def test_a_requests_own_limits_win() -> None:
    slo = Slo(0.1, 2.0, 5.0, "")
    assert slo.tau_of(Request(0, 0.0, 1000, 10, slo_tbt_s=0.3)) == 0.3
    assert slo.ttft_of(Request(0, 0.0, 1000, 10, slo_ttft_s=0.7), COST) == 0.7
