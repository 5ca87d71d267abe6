"""Pausing: the order of victims, who is owed, and that nobody starves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.harness import Run, serve
from strategies import Machine, machines, small_machine, workloads

from orbitflow.config import Tuning, Victim
from orbitflow.policy.orbitflow.policy import OrbitFlow
from orbitflow.policy.pausing import (
    OWED_PASSES,
    PATIENCE,
    RESTED_PASSES,
    first_owed,
    rest_order,
)
from orbitflow.policy.token_deposit import TokenDeposit
from orbitflow.request import Phase, Request, RequestState
from orbitflow.slo import next_due_s


def _members(*prompts: int) -> list[RequestState]:
    return [
        RequestState(Request(i, 0.0, prompt, 50), 0.0, 0.1, (), (), Phase.PAUSED, prompt, order=i)
        for i, prompt in enumerate(prompts)
    ]


def test_victims_by_length() -> None:
    members = _members(30, 90, 60)
    assert rest_order(Victim.LONGEST, members, 0) == (1, 2, 0)
    assert rest_order(Victim.SHORTEST, members, 0) == (0, 2, 1)
    assert sorted(rest_order(Victim.RANDOM, members, 0) or ()) == [0, 1, 2]
    assert rest_order(Victim.DENSITY, members, 0) is None


def test_the_longest_wait_is_owed_first() -> None:
    members, bank = _members(30, 90), TokenDeposit()
    bank.open(0, 0.1, 5.0)
    bank.open(1, 0.1, 4.0)
    assert first_owed(members, bank, 4.1 + PATIENCE * 0.1 - 1e-6) is None
    assert first_owed(members, bank, 5.1 + PATIENCE * 0.1 + 1e-6) == 1


def _longest_lull_s(run: Run) -> float:
    """Longest time from one decode pass's end to the next while somebody is served."""
    longest, last = 0.0, None
    for step, outcome, _ in run.steps:
        ends = outcome.pass_end_s.tolist() if step.decode_ids else []
        begin = outcome.start_s if last is None else last
        for end in ends or [outcome.end_s]:
            longest = max(longest, end - begin)
            begin = end
        if ends:
            last = ends[-1]
    return longest


@pytest.mark.parametrize("victim", list(Victim))
@pytest.mark.parametrize("deposit", [True, False])
@settings(derandomize=True, max_examples=15)
@given(
    machine=machines(),
    requests=workloads(8),
    tbt_limit_s=st.sampled_from((0.01, 0.04, 0.08)),
)
def test_nobody_starves(
    victim: Victim,
    deposit: bool,
    machine: Machine,
    requests: tuple[Request, ...],
    tbt_limit_s: float,
) -> None:
    policy = OrbitFlow()
    policy.configure(Tuning(gate=False, deposit=deposit, victim=victim))
    run = serve(policy, machine, requests, tbt_limit_s=tbt_limit_s)
    lull_s, members = _longest_lull_s(run), len(requests)
    bound_s = PATIENCE * tbt_limit_s + (RESTED_PASSES + members * OWED_PASSES) * lull_s
    for finished in run.finished.values():
        times = finished.token_times_s
        for k in range(1, len(times)):
            due = next_due_s(times[:k], tbt_limit_s) if deposit else times[k - 1] + tbt_limit_s
            balance = max(0.0, due - times[k - 1])
            assert times[k] - times[k - 1] <= balance + bound_s + 1e-9


def test_parking_happens_and_costs_nothing_while_balances_last() -> None:
    # Two requests that fit only one at a time beside a slow link: both are read at tau = 0.2 s, a
    # pass takes a fifth of that, so turns keep both readers fed.
    machine = small_machine(230, link_bytes_per_s=3.1e5)
    requests = [Request(0, 0.0, 100, 60), Request(1, 0.0, 100, 60)]
    policy = OrbitFlow()
    policy.configure(Tuning(gate=False))
    run = serve(policy, machine, requests, tbt_limit_s=0.2)
    assert run.parks > 0
    for finished in run.finished.values():
        times = finished.token_times_s
        late = [times[k] - next_due_s(times[:k], 0.2) for k in range(1, len(times))]
        assert max(late) <= 0.2 * 40
        assert np.diff(times).max() > 0.2, "somebody had to wait for a turn"
