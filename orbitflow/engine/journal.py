"""Everything that a driver told the serving core, so that a run can be lived through again.

The core is deterministic and has no inputs but these calls; so feeding a journal to a fresh core
must give the same steps, bit for bit: the proof that simulator and backend run one policy, and
the way to debug a run that happened elsewhere. Design section 2.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from orbitflow.engine.engine import ServingCore
from orbitflow.request import Request
from orbitflow.step import Events, Idle, PlanAnswer, PlanRequest, Step, StepOutcome


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
    """`adopt` was called, with the plan or with what solving the same question again gives."""

    now_s: float
    request_id: int
    plan: PlanAnswer | None


class Finished(NamedTuple):
    """`finish` was called for the step that `next_step` gave last."""

    outcome: StepOutcome
    answer: str


Entry = Submitted | Stepped | Adopted | Finished


class Journal:
    """A serving core that keeps a journal; drivers use it in place of the core itself.

    `keep` takes the entries as they come; without it they are in `entries`.
    """

    def __init__(self, core: ServingCore, keep: Callable[[Entry], object] | None = None) -> None:
        self._core = core
        self.entries: list[Entry] = []
        self._keep = self.entries.append if keep is None else keep

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
        self._keep(Submitted(now_s, request, refusal))
        return refusal

    def next_step(self, now_s: float) -> Step | Idle:
        """As the core's."""
        step = self._core.next_step(now_s)
        self._keep(Stepped(now_s, describe(step)))
        return step

    def adopt(self, plan: PlanAnswer, now_s: float) -> None:
        """As the core's."""
        self._core.adopt(plan, now_s)
        self._keep(Adopted(now_s, plan.request_id, plan))

    def solve(self, request: PlanRequest) -> PlanAnswer:
        """As the core's; an answer counts only once it is adopted."""
        return self._core.solve(request)

    def finish(self, step: Step, outcome: StepOutcome) -> Events:
        """As the core's."""
        events = self._core.finish(step, outcome)
        self._keep(Finished(outcome, describe(events)))
        return events


class Divergence(NamedTuple):
    """The first entry at which a replay did something else."""

    entry: int
    recorded: str
    replayed: str


OnStep = Callable[[Step, StepOutcome, Events], object]


def replay(
    entries: Iterable[Entry],
    core: ServingCore,
    *,
    on_step: OnStep | None = None,
    answer: Callable[[str], str] = str,
) -> Divergence | None:
    """Feed a journal to a fresh core. Return where it first differs, None if it never does.

    `on_step` hears of every step that is replayed; `answer` makes of a description what the journal
    keeps of it. A plan that the journal does not have is solved again.
    """
    step: Step | Idle = Idle(None)
    asked: dict[int, PlanRequest] = {}
    for index, entry in enumerate(entries):
        if isinstance(entry, Submitted):
            recorded, replayed = str(entry.refusal), str(core.submit(entry.request, entry.now_s))
        elif isinstance(entry, Stepped):
            step = core.next_step(entry.now_s)
            if step.plan_request is not None:
                asked = {step.plan_request.id: step.plan_request}
            recorded, replayed = entry.answer, answer(describe(step))
        elif isinstance(entry, Finished):
            if not isinstance(step, Step):
                return Divergence(index, "a step", describe(step))
            events = core.finish(step, entry.outcome)
            recorded, replayed = entry.answer, answer(describe(events))
            if on_step is not None:
                on_step(step, entry.outcome, events)
        else:
            if entry.plan is None and entry.request_id not in asked:
                return Divergence(index, f"plan {entry.request_id}", "no such question")
            plan = entry.plan or core.solve(asked[entry.request_id])
            core.adopt(plan, entry.now_s)
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
