"""What a worker does: one simulation without a run folder, or one bound.

A task carries all that it needs, so that any process on this machine can do it; the trace stays
read for the next. A process elsewhere is given what the task names as files: its inputs.
"""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TextIO

from orbitflow.config import RunConfig
from orbitflow.machine.profile import Profile
from orbitflow.results.bound_share import bound_figures, bound_of
from orbitflow.results.summary import flat
from orbitflow.scenario import build_scenario
from orbitflow.session import Outputs
from orbitflow.sim.run import simulate_policy
from orbitflow.slo import Slo
from orbitflow.study.study import read
from orbitflow.traces.trace import Trace


@dataclass(frozen=True, slots=True)
class Task:
    """One configuration with one policy, or with none for its bound, under given limits. `guests`
    has policies that were given as objects, pickled, by what they call themselves.
    """

    config: RunConfig
    slo: Slo
    guests: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def is_bound(self) -> bool:
        """Whether what no policy can exceed is wanted."""
        return not self.config.policies


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a task names, read already."""

    trace: Trace
    profile: Profile


class Discard:
    """Outputs of a run that nobody keeps."""

    @contextlib.contextmanager
    def lines(self, name: str) -> Iterator[TextIO]:
        """Open what forgets all that it is told."""
        with open(os.devnull, "w", encoding="utf-8") as out:
            yield out

    @contextlib.contextmanager
    def columns(self, name: str) -> Iterator[Discard]:
        """Open what forgets all that it is told."""
        yield self

    def write(self, block: Mapping[str, Any]) -> None:
        """Write nothing."""


def do_task(
    task: Task, inputs: Inputs | None = None, outputs: Outputs | None = None
) -> dict[str, object]:
    """The scalar figures of a simulation, whose files `outputs` takes, or of a bound."""
    config = task.config
    scenario = build_scenario(
        config,
        slo=task.slo,
        raw=read(config.trace, config.num_requests) if inputs is None else inputs.trace,
        profile=None if inputs is None else inputs.profile,
        guests={name: partial(pickle.loads, pickled) for name, pickled in task.guests.items()},
    )
    if task.is_bound:
        return dict(flat(bound_figures(bound_of(scenario))))
    (policy,) = scenario.policies
    report = simulate_policy(scenario, policy, outputs or Discard(), lambda _: None)
    return dict(flat(report.figures))
