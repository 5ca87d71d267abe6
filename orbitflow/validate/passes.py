"""Pass by pass: what the profile predicted for the steps that were made, beside what they took.

The recorded run is lived through again; every step that the serving core gives, which must be the
recorded one, is timed by the simulator as well, from the profile and from what the policy believed
at that moment. So nothing but the model of the machine can differ: not arrivals, not decisions.

    error of a pass = predicted / measured - 1
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from math import inf
from typing import Any, NamedTuple

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.engine.engine import ServingCore
from orbitflow.engine.journal import Divergence, digest, replay
from orbitflow.machine.cost import CostModel
from orbitflow.session import make_core, outfit
from orbitflow.sim.step_executor import SimExecutor
from orbitflow.step import Events, Step, StepOutcome
from orbitflow.validate.recorded import RecordedRun

_COLUMNS = {
    "end_s": "d",
    "measured_s": "d",
    "by_profile_s": "d",
    "believed_s": "d",
    "stall_s": "d",
    "decoding": "q",
    "prefill_tokens": "q",
    "host_layers": "q",
}


class Replayed(NamedTuple):
    """A run lived through again. `columns` has one row per pass; `divergence` is None if every
    decision was the same. Bytes are the link's, as counted and as the steps say.
    """

    steps: int
    columns: Mapping[str, array[Any]]
    divergence: Divergence | None
    h2d_bytes: tuple[int, int]
    d2h_bytes: tuple[int, int]

    def errors(self, predicted: str) -> FloatArray:
        """Relative errors of a column of predictions, one per pass."""
        errors: FloatArray = (
            np.array(self.columns[predicted]) / np.array(self.columns["measured_s"]) - 1
        )
        return errors


class _Shadow:
    """Times with the simulator what the backend did."""

    def __init__(self, core: ServingCore, cost: CostModel) -> None:
        self._policy = core.policy
        self._by_profile = SimExecutor(cost, core.policy.data_plane)
        self._believed = SimExecutor(cost, core.policy.data_plane)
        self._belief = cost  # before the step
        self.columns: dict[str, array[Any]] = {name: array(c) for name, c in _COLUMNS.items()}
        self.steps = 0
        self.up, self.down = [0, 0], [0, 0]

    def __call__(self, step: Step, outcome: StepOutcome, events: Events) -> None:
        self.steps += 1
        passes = len(outcome.pass_end_s)
        made = step._replace(passes=passes)
        self._believed.cost = self._belief
        by_profile = self._by_profile.execute(made, outcome.start_s, inf)
        believed = self._believed.execute(made, outcome.start_s, inf)
        self._belief = self._policy.believes
        for counted, said, total in (
            (outcome.h2d_bytes, by_profile.h2d_bytes, self.up),
            (outcome.d2h_bytes, by_profile.d2h_bytes, self.down),
        ):
            total[0] += counted
            total[1] += said
        if passes and len(by_profile.pass_end_s) == len(believed.pass_end_s) == passes:
            self._add(step, outcome, by_profile, believed)

    def _add(
        self, step: Step, outcome: StepOutcome, by_profile: StepOutcome, believed: StepOutcome
    ) -> None:
        columns, passes = self.columns, len(outcome.pass_end_s)
        stalls = outcome.pass_stall_s
        columns["end_s"].extend(outcome.pass_end_s)
        columns["measured_s"].extend(outcome.pass_s)
        columns["by_profile_s"].extend(by_profile.pass_s)
        columns["believed_s"].extend(believed.pass_s)
        columns["stall_s"].extend(np.zeros(passes) if stalls is None else stalls)
        columns["decoding"].extend([len(step.decode_ids)] * passes)
        prefill = sum(chunk.tokens for chunk in step.chunks)
        columns["prefill_tokens"].extend([prefill] + [0] * (passes - 1))
        streaming = sum(len(s.layers) * len(s.contexts) for s in step.streams)
        columns["host_layers"].extend([streaming] * passes)


def replay_run(run: RecordedRun, name: str) -> Replayed:
    """Live through a policy's run again, pass by pass."""
    core = make_core(run.scenario, outfit(run.scenario, name))
    shadow = _Shadow(core, run.scenario.believed)
    divergence = replay(run.entries(name), core, on_step=shadow, answer=digest)
    return Replayed(
        shadow.steps,
        shadow.columns,
        divergence,
        (shadow.up[0], shadow.up[1]),
        (shadow.down[0], shadow.down[1]),
    )
