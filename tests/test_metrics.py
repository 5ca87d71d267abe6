"""Every metric against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from orbitflow.results.metrics import (
    Pace,
    e2el_s,
    gaps_s,
    meets,
    pace,
    share,
    tbt_attainment,
    timely_share,
    tpot_s,
    ttft_s,
)


def test_eleven_tokens_50_ms_apart() -> None:
    """Arrival 10 s, first token 12 s, last 12.5 s: TTFT 2 s, TPOT 0.5 s / 10 = 50 ms."""
    times = 12 + 0.05 * np.arange(11.0)
    assert ttft_s(float(times[0]), 10) == 2
    assert tpot_s(float(times[0]), float(times[-1]), 11) == pytest.approx(0.05)
    assert e2el_s(float(times[-1]), 10) == pytest.approx(2.5)
    assert gaps_s(times) == pytest.approx([0.05] * 10)


@pytest.mark.parametrize("tokens", [0, 1])
def test_no_tpot_below_two_tokens_and_that_meets(tokens: int) -> None:
    assert tpot_s(1.0, 1.0, tokens) is None
    assert meets(None, 0.001)
    assert len(gaps_s(np.ones(tokens))) == 0


def test_a_limit_is_met_up_to_rounding() -> None:
    assert meets(0.1, 0.1)
    assert meets(0.1 + 5e-10, 0.1)
    assert not meets(0.1 + 1e-8, 0.1)


def test_a_long_park_is_one_late_token_but_a_long_wait() -> None:
    """101 tokens at tau = 1 s, 1,000 s of silence after the 51st.

    One of 100 due tokens is late: 0.99. The reader is fed 100 s of 100 + 999 s.
    """
    times = np.arange(101.0)
    times[51:] += 999
    paced = pace(times, 1.0, deposit=True)
    assert paced == Pace(1, 100, 100.0, 1099.0, 1099.0)
    assert tbt_attainment(paced.late_tokens, paced.due_tokens) == 0.99
    assert timely_share(paced.due_s, paced.reading_s) == pytest.approx(100 / 1099)


def test_a_park_within_the_balance_costs_nothing() -> None:
    """Fifty tokens at once, then 40 s of silence at tau = 1 s: the reader has 49 s to read."""
    times = np.concatenate([np.zeros(50), np.full(10, 40.0)])
    with_deposit = pace(times, 1.0, deposit=True)
    assert with_deposit.late_tokens == 0
    assert timely_share(with_deposit.due_s, with_deposit.reading_s) == 1


def test_without_deposit_early_tokens_earn_nothing() -> None:
    """The same tokens: one gap of 40 s is late; the reader waits 39 s of 58 + 40."""
    times = np.concatenate([np.zeros(50), np.full(10, 40.0)])
    without = pace(times, 1.0, deposit=False)
    assert without.late_tokens == 1
    assert without.reading_s == pytest.approx(58 + 40)
    assert timely_share(without.due_s, without.reading_s) == pytest.approx(59 / 98)


def test_a_park_of_k_tau_beyond_the_balance_costs_k_tokens() -> None:
    """At pace, then 7 tau too late: 7 tau of reading time lost, once."""
    times = 0.1 * np.arange(21.0)
    times[11:] += 0.7
    paced = pace(times, 0.1, deposit=True)
    assert paced.late_tokens == 1
    assert paced.reading_s - paced.due_s == pytest.approx(0.7)


@pytest.mark.parametrize("deposit", [True, False])
def test_a_single_token_has_nothing_due(deposit: bool) -> None:
    paced = pace(np.array([3.0]), 0.1, deposit=deposit)
    assert paced == Pace(0, 0, 0.0, 0.0, 3.0)
    assert tbt_attainment(paced.late_tokens, paced.due_tokens) is None
    assert timely_share(paced.due_s, paced.reading_s) is None


@pytest.mark.parametrize("deposit", [True, False])
def test_tokens_exactly_at_pace_are_timely(deposit: bool) -> None:
    paced = pace(0.1 * np.arange(1000.0), 0.1, deposit=deposit)
    assert paced.late_tokens == 0
    assert paced.reading_s == pytest.approx(paced.due_s)


def test_no_share_of_nothing() -> None:
    assert share(0.0, 0.0) is None
    assert share(1.0, 4.0) == 0.25
