"""The decision that is in force at a moment of a trace, which is simulated until then.

Fidelity is `step`. The simulation ends in the step that the moment falls into, before the core is
told its outcome.
"""

from __future__ import annotations

import numpy as np

from orbitflow.explain.decision import DecisionShown, NotShown
from orbitflow.explain.explain import Moment, describe
from orbitflow.explain.seated_engine import SeatedCore
from orbitflow.scenario import Scenario
from orbitflow.session import outfit
from orbitflow.sim.pass_work import Noise
from orbitflow.sim.server import Simulation, StepExecutor
from orbitflow.sim.step_executor import SimExecutor
from orbitflow.step import Observers, Step, StepOutcome
from orbitflow.units import format_seconds


class _Reached(Exception):
    """The moment has come."""


class _Watch:
    """An executor that ends the simulation at a moment."""

    def __init__(self, inner: StepExecutor, at_s: float) -> None:
        self._inner = inner
        self._at_s = at_s
        self.step_s: float | None = None  # when the step began that the moment falls into, or next
        self.moment = Moment(at_s)

    def execute(self, step: Step, start_s: float, stop_at_s: float) -> StepOutcome:
        """Do a step. Raise _Reached if it ends, or starts, after the moment."""
        outcome = self._inner.execute(step, start_s, stop_at_s)
        if outcome.end_s <= self._at_s:
            return outcome
        ends = outcome.pass_end_s if step.decode_ids else np.empty(0)
        self.step_s = start_s
        self.moment = Moment(self._at_s, ends[: int(ends.searchsorted(self._at_s, "right"))])
        raise _Reached


def explain_moment(scenario: Scenario, name: str, at_s: float) -> DecisionShown | NotShown:
    """The decision of the policy called `name` that is in force `at_s` seconds into the trace."""
    policy = outfit(scenario, name)
    core = SeatedCore(
        policy,
        scenario.limits,
        tbt_limit_s=scenario.slo.tbt_limit_s,
        max_batch=scenario.max_batch,
        prefill_chunk=scenario.config.prefill_chunk,
    )
    noise = Noise(scenario.noise, scenario.config.seed) if scenario.noise else None
    watch = _Watch(SimExecutor(scenario.true, policy.data_plane, noise), at_s)
    simulation = Simulation(
        core,
        watch,
        scenario.trace.requests(),
        Observers(),
        planner_latency_s=scenario.profile.planner_latency_s,
    )
    try:
        end_s = simulation.run()
    except _Reached:
        assert watch.step_s is not None
        if watch.step_s <= at_s:
            return describe(core, policy, scenario, watch.moment)
        begins = f"the next step begins at {watch.step_s:.6g}s"
        return NotShown(name, f"no request is being served at {format_seconds(at_s)}: {begins}")
    return NotShown(name, f"all is served after {format_seconds(end_s)}: take an earlier --at")
