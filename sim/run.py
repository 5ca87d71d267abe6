"""Simulate a scenario under one of its policies, into an open run folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from orbitflow.config import DepositRule, PipelineForm
from orbitflow.pipeline import Overlap
from orbitflow.policy.base import DataPlane, Policy
from orbitflow.policy.registry import make_policy
from orbitflow.recorder import Recorder, decision_line
from orbitflow.run_folder import RunFolder
from orbitflow.scenario import Scenario
from orbitflow.serving import ServingCore
from orbitflow.sim.engine import Simulation
from orbitflow.sim.executor import SimExecutor
from orbitflow.summary import PolicyReport


def simulate_policy(
    scenario: Scenario, name: str, folder: RunFolder, progress: Callable[[int], None]
) -> PolicyReport:
    """Run one policy over the scenario's trace. `progress` is told as requests end."""
    config = scenario.config
    policy = make_policy(name)
    policy.bind(scenario.limits, scenario.believed)
    deposit = _banks(policy, config.deposit)
    with (
        folder.lines(f"{name}/requests.jsonl") as requests_out,
        folder.lines(f"{name}/decisions.jsonl") as decisions_out,
    ):
        core = ServingCore(
            policy,
            scenario.limits,
            tau_s=scenario.slo.tau_s,
            max_batch=scenario.max_batch,
            prefill_chunk=config.prefill_chunk,
            on_decision=lambda record: decisions_out.write(decision_line(record)),
        )
        recorder = Recorder(
            core,
            scenario.believed,
            scenario.slo,
            deposit=deposit,
            delivery=config.pace,
            requests_out=requests_out,
            progress=progress,
        )
        Simulation(
            core,
            SimExecutor(scenario.true, _data_plane(policy, config.pipeline)),
            scenario.trace.requests(),
            recorder,
            planner_latency_s=scenario.profile.planner_latency_s,
        ).run()
    folder.write_arrays(f"{name}/steps.npz", recorder.steps.arrays())
    return recorder.report(policy, deposit=deposit)


def _banks(policy: Policy, rule: DepositRule) -> bool:
    """Whether this policy's early tokens are banked when lateness is judged."""
    return rule is DepositRule.ALL or (rule is DepositRule.POLICY and policy.has_deposit)


def _data_plane(policy: Policy, form: PipelineForm) -> DataPlane:
    """The policy's data plane, streaming in the form that the run asks for."""
    plane = policy.data_plane
    if plane.overlap is Overlap.RING and form is PipelineForm.PAPER:
        return replace(plane, overlap=Overlap.PAPER)
    return plane
