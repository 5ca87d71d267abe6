"""Token deposit against the loop that defines it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitflow.arrays import FloatArray
from orbitflow.slo import LATE_TOLERANCE_S, deliver, deposit_tokens, late, next_due_s

GAPS = st.lists(st.floats(0, 100), min_size=1, max_size=60)
TAUS = st.floats(1e-3, 10)


def times_of(gaps: list[float]) -> FloatArray:
    return np.cumsum(np.array(gaps))


def loop(generated: list[float], tau_s: float) -> list[float]:
    delivered = generated[:1]
    for at in generated[1:]:
        delivered.append(max(at, delivered[-1] + tau_s))
    return delivered


@given(GAPS, TAUS)
@settings(derandomize=True, deadline=None)
def test_delivery_is_the_plain_loop(gaps: list[float], tau_s: float) -> None:
    generated = times_of(gaps)
    wanted = loop(generated.tolist(), tau_s)
    assert deliver(generated, tau_s) == pytest.approx(wanted, abs=1e-9)


@given(GAPS, TAUS)
@settings(derandomize=True, deadline=None)
def test_a_token_is_late_iff_its_reader_waited(gaps: list[float], tau_s: float) -> None:
    """Rounding aside: tokens within a billionth of their due time are left out of the check."""
    generated = times_of(gaps)
    delivered = loop(generated.tolist(), tau_s)
    is_late = late(generated, deliver(generated, tau_s), tau_s).tolist()
    for k in range(1, len(delivered)):
        over = float(generated[k]) - (delivered[k - 1] + tau_s)
        if abs(over - LATE_TOLERANCE_S) > 1e-10:
            assert is_late[k - 1] == (over > LATE_TOLERANCE_S)


@given(GAPS, TAUS)
@settings(derandomize=True, deadline=None)
def test_next_due_is_one_tau_after_the_last_delivery(gaps: list[float], tau_s: float) -> None:
    generated = times_of(gaps)
    wanted = loop(generated.tolist(), tau_s)[-1] + tau_s
    assert next_due_s(generated, tau_s) == pytest.approx(wanted, abs=1e-9)


@given(GAPS, TAUS, st.floats(0, 1000))
@settings(derandomize=True, deadline=None)
def test_the_bank_is_what_is_not_delivered_yet(
    gaps: list[float], tau_s: float, now_s: float
) -> None:
    generated = times_of(gaps)
    delivered = loop(generated.tolist(), tau_s)
    if min(abs(d - now_s) for d in delivered) > 1e-9:
        assert deposit_tokens(generated, tau_s, now_s) == sum(d > now_s for d in delivered)


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
