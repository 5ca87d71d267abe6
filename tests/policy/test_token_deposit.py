"""The bank against the definition of delivery."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitflow.policy.token_deposit import TokenDeposit
from orbitflow.slo import next_due_s

_gaps = st.lists(st.floats(0.0, 0.3), min_size=0, max_size=8)


def test_by_hand() -> None:
    bank = TokenDeposit()
    bank.open(1, tbt_limit_s=1.0, now_s=10.0)
    assert bank.due_s(1) == 11.0
    bank.add([1], np.array([10.2, 10.4, 10.6]))  # three early: due at 11, 12, 13
    assert bank.due_s(1) == 14.0
    assert bank.lag_s(1) == 0.0
    bank.add([1], np.array([20.0]))  # wanted at 14: the reader starts anew at 20
    assert bank.due_s(1) == 21.0
    assert bank.lag_s(1) == 6.0, "of five tokens the last is out at 20, a tau each from 10 on at 14"
    bank.add([1], np.array([20.1]))
    assert bank.lag_s(1) == 6.0
    bank.close(1)
    assert bank.due_s(1) is None


def test_without_deposit_the_next_token_is_due_a_tau_after_the_last() -> None:
    bank = TokenDeposit(is_on=False)
    bank.open(1, tbt_limit_s=1.0, now_s=10.0)
    bank.add([1], np.array([10.2, 10.4]))
    assert bank.due_s(1) == pytest.approx(11.4)


@given(
    first_s=st.floats(0, 5),
    steps=st.lists(_gaps, max_size=6),
    tbt_limits_s=st.lists(st.sampled_from((0.05, 0.1, 0.2)), min_size=2, max_size=2),
)
def test_equals_the_delivery_of_all_tokens_at_once(
    first_s: float, steps: list[list[float]], tbt_limits_s: list[float]
) -> None:
    bank = TokenDeposit()
    now, times = first_s, [first_s]
    for request, tbt_limit in enumerate(tbt_limits_s):
        bank.open(request, tbt_limit, now)
    for gaps in steps:
        ends = now + np.cumsum(np.array(gaps))
        bank.add([0, 1], ends)
        times += ends.tolist()
        now = times[-1]
    for request, tbt_limit in enumerate(tbt_limits_s):
        assert bank.due_s(request) == pytest.approx(
            next_due_s(np.array(times), tbt_limit), abs=1e-9
        )
