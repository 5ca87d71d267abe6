"""The gate: hysteresis, how far it looks ahead, and the pass it expects."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import small_machine

from orbitflow.memory import KvLimits
from orbitflow.placement import stride
from orbitflow.policy.orbitflow.admission import Gate, Grown, expected_pass_s
from orbitflow.policy.orbitflow.options import DEFAULT


def test_once_shut_it_opens_later() -> None:
    gate = Gate()
    between = (DEFAULT.close_share + DEFAULT.open_share) / 2
    assert gate.admits(between, 1.0)
    assert not gate.admits(DEFAULT.close_share + 0.01, 1.0)
    assert not gate.admits(between, 1.0), "hysteresis"
    assert gate.admits(DEFAULT.open_share - 0.01, 1.0)
    assert gate.admits(between, 1.0)


def test_what_memory_forbids_is_never_let_in() -> None:
    assert not Gate().admits(None, 1e9)


def test_it_looks_half_a_mean_output_ahead() -> None:
    gate = Gate()
    assert gate.horizon_tokens == DEFAULT.first_horizon_tokens
    gate.finished(300)
    gate.finished(100)
    assert gate.horizon_tokens == 100
    tiny = Gate()
    tiny.finished(1)
    assert tiny.horizon_tokens == 1


def test_the_expected_pass_by_hand() -> None:
    cost = small_machine(link_bytes_per_s=1e5).cost  # a page of 4000 bytes takes 0.04 s
    options = (0, len(stride(6, 1)))
    # 9 tokens: 3 pages, 2 of them full, in each of 6 layers. Two requests need 36 pages.
    batch = Grown.of(KvLimits(6, 4, 36), np.array([5, 5]), 4)
    assert batch == Grown.of(KvLimits(6, 4, 36), np.array([5]), 4).plus(KvLimits(6, 4, 36), 5, 4)
    compute = cost.decode_pass_s(2, 18)
    assert expected_pass_s(cost, KvLimits(6, 4, 36), batch, options, 2) == compute
    # 2 pages over: every second layer frees 3 groups of 4 and a ring of 2 takes 2 back, so for each
    # page gained 3 are streamed: 6 pages, 0.24 s.
    tight = expected_pass_s(cost, KvLimits(6, 4, 34), batch, options, 2)
    assert tight == pytest.approx(max(compute, 6 * 0.04))
    # With the ring on top 3 groups are gained: 2 pages over are 2 pages streamed.
    extra = expected_pass_s(cost, KvLimits(6, 4, 34), batch, options, 0)
    assert extra == pytest.approx(max(compute, 2 * 0.04))
    # 4 groups can gain 4 pages: 5 over cannot be had.
    assert expected_pass_s(cost, KvLimits(6, 4, 31), batch, options, 2) is None
