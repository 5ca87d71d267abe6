"""Everything that a driver told the serving core, so that a run can be lived through again.

The core is deterministic and has no inputs but these calls; so feeding a journal to a fresh core
must give the same steps, bit for bit: the proof that simulator and backend run one policy, and
the way to debug a run that happened elsewhere. Design section 2.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from orbitflow.request import Request
from orbitflow.serving import ServingCore
from orbitflow.step import Events, Idle, Plan, PlanRequest, Step, StepOutcome


class Submitted(NamedTuple):
    """`submit` was called."""

    now_s: float
    request: Request
    refusal: str | None


class Stepped(NamedTuple):
    """`next_step` was called, and this came of it."""

    now_s: float
    answer: str


class Adopted(NamedTuple):
    """`adopt` was called."""

    now_s: float
    plan: Plan


class Finished(NamedTuple):
    """`finish` was called for the step that `next_step` gave last."""

    outcome: StepOutcome
    answer: str


Entry = Submitted | Stepped | Adopted | Finished


class Journal:
    """A serving core that keeps a journal; drivers use it in place of the core itself."""

    def __init__(self, core: ServingCore) -> None:
        self._core = core
        self.entries: list[Entry] = []

    @property
    def core(self) -> ServingCore:
        """The core behind the journal."""
        return self._core

    @property
    def is_drained(self) -> bool:
        """Whether every request is finished and every page free."""
        return self._core.is_drained

    def submit(self, request: Request, now_s: float) -> str | None:
        """As the core's."""
        refusal = self._core.submit(request, now_s)
        self.entries.append(Submitted(now_s, request, refusal))
        return refusal

    def next_step(self, now_s: float) -> Step | Idle:
        """As the core's."""
        step = self._core.next_step(now_s)
        self.entries.append(Stepped(now_s, describe(step)))
        return step

    def adopt(self, plan: Plan, now_s: float) -> None:
        """As the core's."""
        self._core.adopt(plan, now_s)
        self.entries.append(Adopted(now_s, plan))

    def solve(self, request: PlanRequest) -> Plan:
        """As the core's; an answer counts only once it is adopted."""
        return self._core.solve(request)

    def finish(self, step: Step, outcome: StepOutcome) -> Events:
        """As the core's."""
        events = self._core.finish(step, outcome)
        self.entries.append(Finished(outcome, describe(events)))
        return events


class Divergence(NamedTuple):
    """The first entry at which a replay did something else."""

    entry: int
    recorded: str
    replayed: str


def replay(entries: Sequence[Entry], core: ServingCore) -> Divergence | None:
    """Feed a journal to a fresh core. Return where it first differs, None if it never does."""
    step: Step | Idle = Idle(None)
    for index, entry in enumerate(entries):
        if isinstance(entry, Submitted):
            recorded, replayed = str(entry.refusal), str(core.submit(entry.request, entry.now_s))
        elif isinstance(entry, Stepped):
            step = core.next_step(entry.now_s)
            recorded, replayed = entry.answer, describe(step)
        elif isinstance(entry, Finished):
            assert isinstance(step, Step), "a journal finishes a step that it never began"
            recorded, replayed = entry.answer, describe(core.finish(step, entry.outcome))
        else:
            core.adopt(entry.plan, entry.now_s)
            continue
        if recorded != replayed:
            return Divergence(index, recorded, replayed)
    return None


def describe(value: Step | Idle | Events) -> str:
    """Every figure of a step or of events in one line, exactly; equal values give equal lines."""
    return _exact(value)


def _exact(value: object) -> str:
    if hasattr(value, "tolist"):
        return repr(value.tolist())
    if isinstance(value, tuple):
        return f"({', '.join(_exact(v) for v in value)})"
    return value.hex() if isinstance(value, float) else repr(value)
