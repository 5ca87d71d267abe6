"""Where the limits come from, and when tokens are delivered, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitflow.arrays import FloatArray
from orbitflow.machine.cost import CostModel
from orbitflow.machine.line_passes import DecodeFit, LinePasses, PrefillFit
from orbitflow.machine.profile import LinkFit
from orbitflow.request import Request
from orbitflow.slo import (
    LATE_TOLERANCE_S,
    MEAN_OVER_REQUESTS,
    Slo,
    deliver,
    deposit_tokens,
    full_pass_s,
    late,
    mean_final_context,
    next_due_s,
)

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
    assert slo.tbt_limit_of(plain) == 0.1
    assert slo.ttft_of(plain, COST) == pytest.approx(2.775)


def test_a_requests_own_limits_win() -> None:
    slo = Slo(0.1, 2.0, 5.0, "")
    assert slo.tbt_limit_of(Request(0, 0.0, 1000, 10, slo_tbt_s=0.3)) == 0.3
    assert slo.ttft_of(Request(0, 0.0, 1000, 10, slo_ttft_s=0.7), COST) == 0.7


GAPS = st.lists(st.floats(0, 100), min_size=1, max_size=60)
TAUS = st.floats(1e-3, 10)


def times_of(gaps: list[float]) -> FloatArray:
    return np.cumsum(np.array(gaps))


def loop(generated: list[float], tbt_limit_s: float) -> list[float]:
    delivered = generated[:1]
    for at in generated[1:]:
        delivered.append(max(at, delivered[-1] + tbt_limit_s))
    return delivered


@given(GAPS, TAUS)
def test_delivery_is_the_plain_loop(gaps: list[float], tbt_limit_s: float) -> None:
    generated = times_of(gaps)
    wanted = loop(generated.tolist(), tbt_limit_s)
    assert deliver(generated, tbt_limit_s) == pytest.approx(wanted, abs=1e-9)


@given(GAPS, TAUS)
def test_a_token_is_late_iff_its_reader_waited(gaps: list[float], tbt_limit_s: float) -> None:
    """Rounding aside: tokens within a billionth of their due time are left out of the check."""
    generated = times_of(gaps)
    delivered = loop(generated.tolist(), tbt_limit_s)
    is_late = late(generated, deliver(generated, tbt_limit_s), tbt_limit_s).tolist()
    for k in range(1, len(delivered)):
        over = float(generated[k]) - (delivered[k - 1] + tbt_limit_s)
        if abs(over - LATE_TOLERANCE_S) > 1e-10:
            assert is_late[k - 1] == (over > LATE_TOLERANCE_S)


@given(GAPS, TAUS)
def test_next_due_is_one_tau_after_the_last_delivery(gaps: list[float], tbt_limit_s: float) -> None:
    generated = times_of(gaps)
    wanted = loop(generated.tolist(), tbt_limit_s)[-1] + tbt_limit_s
    assert next_due_s(generated, tbt_limit_s) == pytest.approx(wanted, abs=1e-9)


@given(GAPS, TAUS, st.floats(0, 1000))
def test_the_bank_is_what_is_not_delivered_yet(
    gaps: list[float], tbt_limit_s: float, now_s: float
) -> None:
    generated = times_of(gaps)
    delivered = loop(generated.tolist(), tbt_limit_s)
    if min(abs(d - now_s) for d in delivered) > 1e-9:
        assert deposit_tokens(generated, tbt_limit_s, now_s) == sum(d > now_s for d in delivered)


def test_by_hand() -> None:
    """Four tokens at once, tau 1 s: read at 0, 1, 2, 3; a fifth at 3.5 is in time, at 4.5 late."""
    early = np.zeros(4)
    assert deliver(early, 1.0).tolist() == [0, 1, 2, 3]
    assert next_due_s(early, 1.0) == 4.0
    assert [deposit_tokens(early, 1.0, now) for now in (0.0, 0.5, 1.0, 2.5, 3.0)] == [3, 3, 2, 1, 0]
    for fifth, is_late in ((3.5, False), (4.0, False), (4.0 + 5e-10, False), (4.5, True)):
        generated = np.array([0, 0, 0, 0, fifth])
        assert late(generated, deliver(generated, 1.0), 1.0).tolist() == [False] * 3 + [is_late]


def test_a_single_token_is_never_late() -> None:
    one = np.array([7.0])
    assert deliver(one, 0.1).tolist() == [7.0]
    assert late(one, one, 0.1).tolist() == []
    assert deposit_tokens(one, 0.1, 7.0) == 0
