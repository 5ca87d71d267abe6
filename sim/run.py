"""Simulate a scenario under one of its policies, into an open run folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from orbitflow.config import DeliveryPace, Fidelity
from orbitflow.engine.engine import ServingCore
from orbitflow.results.summary import PolicyReport
from orbitflow.results.timeline import Origin, Timeline
from orbitflow.results.timeline_tracks import Tracks
from orbitflow.scenario import Scenario
from orbitflow.session import Outputs, open_session
from orbitflow.sim.layer_executor import LayerSimulation
from orbitflow.sim.pass_work import Noise
from orbitflow.sim.server import Server, Simulation
from orbitflow.sim.step_executor import SimExecutor
from orbitflow.step import Observer, Observers


def simulate_policy(
    scenario: Scenario,
    name: str,
    folder: Outputs,
    progress: Callable[[int], None],
    watcher: Observer | None = None,
) -> PolicyReport:
    """Run one policy over the scenario's trace. `progress` is told as requests end, `watcher` of
    every step.
    """
    with open_session(scenario, name, folder, progress) as session:
        observer: Observer = session.recorder
        if watcher is not None:
            observer = Observers(observer, watcher)
        if scenario.config.timeline:
            with (
                folder.lines(f"{name}/timeline.json") as out,
                closing(Timeline(out, _origin(scenario.config.fidelity))) as timeline,
            ):
                _server(scenario, session.core, observer, timeline).run()
        else:
            _server(scenario, session.core, observer, None).run()
    return session.report()


def _server(
    scenario: Scenario, core: ServingCore, observer: Observer, timeline: Timeline | None
) -> Server:
    """The simulation in the fidelity that the run asks for."""
    config, requests = scenario.config, scenario.trace.requests()
    plane = core.policy.data_plane
    latency_s = scenario.profile.planner_latency_s
    noise = Noise(scenario.noise, config.seed) if scenario.noise else None
    if timeline is not None:
        tracks = Tracks(
            timeline,
            core,
            paced=config.pace is DeliveryPace.SLO,
            by_pass=config.fidelity is Fidelity.STEP,
            planner_latency_s=latency_s,
        )
        observer = Observers(observer, tracks.observer)
    if config.fidelity is Fidelity.STEP:
        executor = SimExecutor(scenario.true, plane, noise)
        return Simulation(core, executor, requests, observer, planner_latency_s=latency_s)
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


def _origin(fidelity: Fidelity) -> Origin:
    clock = "simulated seconds since the start of the run, which is the trace's zero"
    if fidelity is Fidelity.STEP:
        return Origin("simulation", "pass", clock, "not shown: fidelity step times whole passes")
    return Origin("simulation", "layer", clock, "modelled transfers")
