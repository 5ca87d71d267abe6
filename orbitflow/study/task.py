"""What a worker does: one simulation without a run folder, or one bound.

A task names its trace and profile. A process of this machine reads them itself, and keeps the trace
for the next task. A process elsewhere is given a task that carries them as `inputs`.
"""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TextIO, TypeAlias

from orbitflow.config import RunConfig
from orbitflow.machine.catalog import DEFAULT_PROFILE, resolve_profile
from orbitflow.machine.profile import Profile
from orbitflow.results.bound_share import bound_figures, bound_of
from orbitflow.results.summary import flat
from orbitflow.scenario import build_scenario
from orbitflow.session import Outputs
from orbitflow.sim.run import simulate_policy
from orbitflow.slo import Slo
from orbitflow.study.study import read, reading
from orbitflow.traces.trace import Trace


@dataclass(frozen=True, slots=True)
class TaskInputs:
    """What a task names as files, read already."""

    trace: Trace
    profile: Profile


@dataclass(frozen=True, slots=True)
class StudyTask:
    """One configuration with one policy, or with none for its bound, under given limits. `guests`
    has policies that were given as objects, pickled, by what they call themselves.
    """

    config: RunConfig
    slo: Slo
    inputs: TaskInputs | None = None  # None: the worker reads them
    guests: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def is_bound(self) -> bool:
        """Whether what no policy can exceed is wanted."""
        return not self.config.policies

    @property
    def input_names(self) -> tuple[object, ...]:
        """What its inputs are read from: tasks with the same names have the same inputs."""
        config = self.config
        return *reading(config), config.profile, config.model

    def read_inputs(self) -> TaskInputs:
        """Read what the task names. Raise a UserError if it cannot be read."""
        config = self.config
        profile = resolve_profile(config.profile or DEFAULT_PROFILE, config.model)
        return TaskInputs(read(*reading(config)), profile)


Figures: TypeAlias = dict[str, object]
Work: TypeAlias = Callable[[StudyTask], Figures]


class Reply(NamedTuple):
    """What became of a task: its figures, or the error in one line."""

    figures: Figures | None
    error: str | None


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


def do_task(task: StudyTask, outputs: Outputs | None = None) -> Figures:
    """The scalar figures of a simulation, whose files `outputs` takes, or of a bound."""
    config, inputs = task.config, task.inputs
    scenario = build_scenario(
        config,
        slo=task.slo,
        raw=read(*reading(config)) if inputs is None else inputs.trace,
        profile=None if inputs is None else inputs.profile,
        guests={name: partial(pickle.loads, pickled) for name, pickled in task.guests.items()},
    )
    if task.is_bound:
        return dict(flat(bound_figures(bound_of(scenario))))
    (policy,) = scenario.policies
    report = simulate_policy(scenario, policy, outputs or Discard(), lambda _: None)
    return dict(flat(report.figures))


def attempt(work: Work, task: StudyTask) -> Reply:
    """Do a task where a worker runs. An error becomes a line, which can always be sent back."""
    try:
        return Reply(work(task), None)
    except Exception as error:
        return Reply(None, one_line(error))


def one_line(error: BaseException) -> str:
    """An error with its kind.

    >>> one_line(ValueError("not\\nso"))
    'ValueError: not so'
    """
    return " ".join(f"{type(error).__name__}: {error}".split())
