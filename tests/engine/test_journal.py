"""A journal fed to a fresh core gives the same steps; one that was tampered with does not."""

from __future__ import annotations

import pytest

from orbitflow.engine.engine import ServingCore
from orbitflow.engine.journal import Divergence, FinishCall, Journal, SubmitCall, describe, replay
from orbitflow.machine.catalog import resolve_profile
from orbitflow.machine.cost import CostModel
from orbitflow.memory import KvLimits
from orbitflow.policy.registry import make_policy
from orbitflow.request import Request
from orbitflow.sim.server import Simulation
from orbitflow.sim.step_executor import SimExecutor
from orbitflow.step import Events, Idle, Step, StepOutcome

PROFILE = resolve_profile("a5000-llama3-8b-paper")
COST = CostModel.from_profile(PROFILE)
REQUESTS = [Request(i, 3.0 * i, 400 + 700 * (i % 3), 150 + 90 * (i % 4)) for i in range(10)]


class Silent:
    def refused(self, request: Request, reason: str) -> None: ...

    def stepped(self, step: Step, outcome: StepOutcome, events: Events) -> None: ...

    def planned(self, latency_s: float) -> None: ...


def fresh_core(policy_name: str, capacity_tokens: int = 3200) -> ServingCore:
    limits = KvLimits.from_tokens(COST.layers, COST.page_tokens, capacity_tokens)
    policy = make_policy(policy_name)
    policy.bind(limits, COST)
    return ServingCore(policy, limits, tau_s=0.1, prefill_chunk=256)


def recorded(policy_name: str) -> Journal:
    core = fresh_core(policy_name)
    journal = Journal(core)
    executor = SimExecutor(COST, core.policy.data_plane)
    Simulation(journal, executor, REQUESTS, Silent()).run()
    return journal


@pytest.mark.parametrize("policy_name", ["no-offload", "static-2", "dynamic", "deepspeed"])
def test_a_replay_repeats_every_decision(policy_name: str) -> None:
    journal = recorded(policy_name)
    assert sum(isinstance(e, SubmitCall) for e in journal.entries) == len(REQUESTS)
    core = fresh_core(policy_name)
    assert replay(journal.entries, core) is None
    assert core.is_drained


def test_a_replay_on_another_machine_names_the_first_difference() -> None:
    journal = recorded("dynamic")
    divergence = replay(journal.entries, fresh_core("dynamic", capacity_tokens=2800))
    assert isinstance(divergence, Divergence)
    assert divergence.recorded != divergence.replayed


def test_a_changed_outcome_is_noticed() -> None:
    entries = list(recorded("no-offload").entries)
    at = next(
        i
        for i, e in enumerate(entries)
        if isinstance(e, FinishCall) and len(e.outcome.pass_end_s) > 2
    )
    entry = entries[at]
    assert isinstance(entry, FinishCall)
    shorter = entry.outcome._replace(pass_end_s=entry.outcome.pass_end_s[:-1])
    entries[at] = FinishCall(shorter, entry.answer)
    divergence = replay(entries, fresh_core("no-offload"))
    assert divergence is not None
    assert divergence.entry == at


def test_descriptions_are_exact() -> None:
    assert describe(Idle(0.1)) != describe(Idle(0.1 + 1e-17 + 2e-17))
    assert describe(Idle(None)) == describe(Idle(None))
