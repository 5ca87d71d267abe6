"""Simulate a scenario under one of its policies, into an open run folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol, TextIO

from orbitflow.config import DepositRule, Fidelity, PipelineForm
from orbitflow.driving import Observer, Observers
from orbitflow.pipeline import Overlap
from orbitflow.policy.base import DataPlane, Policy
from orbitflow.policy.registry import make_policy
from orbitflow.recorder import Blocks, Recorder, decision_line
from orbitflow.scenario import Scenario
from orbitflow.serving import DecisionRecord, ServingCore
from orbitflow.sim.engine import Server, Simulation
from orbitflow.sim.executor import SimExecutor
from orbitflow.sim.layers import LayerSimulation
from orbitflow.sim.noise import Noise
from orbitflow.summary import PolicyReport
from orbitflow.timeline import RequestTracks, Timeline


class Outputs(Protocol):
    """Where the files of a run go, such as a run folder."""

    def lines(self, name: str) -> AbstractContextManager[TextIO]:
        """Open a file of lines."""
        ...

    def columns(self, name: str) -> AbstractContextManager[Blocks]:
        """Open a file of columns."""
        ...


def outfit(scenario: Scenario, name: str) -> Policy:
    """A fresh policy of that name, bound to the scenario's machine as the run asks for."""
    policy, config = make_policy(name), scenario.config
    policy.configure(config.tuning)
    policy.data_plane = _data_plane(policy, config.pipeline)
    policy.bind(scenario.limits, scenario.believed)
    return policy


def simulate_policy(
    scenario: Scenario, name: str, folder: Outputs, progress: Callable[[int], None]
) -> PolicyReport:
    """Run one policy over the scenario's trace. `progress` is told as requests end."""
    config = scenario.config
    policy = outfit(scenario, name)
    deposit = _banks(policy, config.deposit)
    with (
        folder.lines(f"{name}/requests.jsonl") as requests_out,
        folder.lines(f"{name}/decisions.jsonl") as decisions_out,
        folder.columns(f"{name}/steps.npz") as steps_out,
    ):

        def decided(record: DecisionRecord) -> None:
            decisions_out.write(decision_line(record))
            recorder.decided(record)

        core = ServingCore(
            policy,
            scenario.limits,
            tau_s=scenario.slo.tau_s,
            max_batch=scenario.max_batch,
            prefill_chunk=config.prefill_chunk,
            on_decision=decided,
        )
        recorder = Recorder(
            core,
            scenario.believed,
            scenario.slo,
            deposit=deposit,
            delivery=config.pace,
            requests_out=requests_out,
            steps_out=steps_out,
            progress=progress,
        )
        if config.timeline:
            with folder.lines(f"{name}/timeline.json") as timeline_out:
                timeline = Timeline(timeline_out)
                _server(scenario, core, recorder, timeline).run()
                timeline.close()
        else:
            _server(scenario, core, recorder, None).run()
        recorder.steps.flush()
    return recorder.report(policy, deposit=deposit)


def _server(
    scenario: Scenario, core: ServingCore, recorder: Recorder, timeline: Timeline | None
) -> Server:
    """The simulation in the fidelity that the run asks for."""
    config, requests = scenario.config, scenario.trace.requests()
    plane = core.policy.data_plane
    latency_s = scenario.profile.planner_latency_s
    noise = Noise(scenario.noise, config.seed) if scenario.noise else None
    if config.fidelity is Fidelity.STEP:
        executor = SimExecutor(scenario.true, plane, noise)
        return Simulation(core, executor, requests, recorder, planner_latency_s=latency_s)
    observer: Observer = recorder
    if timeline is not None:
        observer = Observers(recorder, RequestTracks(timeline, latency_s))
    return LayerSimulation(
        core,
        scenario.true,
        plane,
        requests,
        observer,
        planner_latency_s=latency_s,
        span=None if timeline is None else timeline.span,
        noise=noise,
    )


def _banks(policy: Policy, rule: DepositRule) -> bool:
    """Whether this policy's early tokens are banked when lateness is judged."""
    return rule is DepositRule.ALL or (rule is DepositRule.POLICY and policy.has_deposit)


def _data_plane(policy: Policy, form: PipelineForm) -> DataPlane:
    """The policy's data plane, streaming in the form that the run asks for."""
    plane = policy.data_plane
    if plane.overlap is Overlap.RING and form is PipelineForm.PAPER:
        return replace(plane, overlap=Overlap.PAPER)
    return plane
