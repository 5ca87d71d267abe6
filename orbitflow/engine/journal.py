"""Everything that a driver told the serving core, so that a run can be lived through again.

The core is deterministic and has no inputs but these calls; so feeding a journal to a fresh core
must give the same steps, bit for bit: the proof that simulator and backend run one policy, and
the way to debug a run that happened elsewhere. Design section 2.1.

`journal.jsonl` is small enough to be written while a server runs: one line per call of the core.
Times are written so that they read back to the last bit; of what the core answered there is a
digest, which is all that a replay needs to tell same from different. Plans are not written: they
follow from their questions, so a replay solves these again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from orbitflow.engine.engine import ServingCore
from orbitflow.request import Request
from orbitflow.step import Events, Idle, PlanAnswer, PlanRequest, Step, StepOutcome


class SubmitCall(NamedTuple):
    """`submit` was called."""

    now_s: float
    request: Request
    refusal: str | None


class StepCall(NamedTuple):
    """`next_step` was called, and this came of it."""

    now_s: float
    answer: str


class AdoptCall(NamedTuple):
    """`adopt` was called, with the plan or with what solving the same question again gives."""

    now_s: float
    request_id: int
    plan: PlanAnswer | None = None


class FinishCall(NamedTuple):
    """`finish` was called for the step that `next_step` gave last."""

    outcome: StepOutcome
    answer: str


Entry = SubmitCall | StepCall | AdoptCall | FinishCall


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
        self._keep(SubmitCall(now_s, request, refusal))
        return refusal

    def next_step(self, now_s: float) -> Step | Idle:
        """As the core's."""
        step = self._core.next_step(now_s)
        self._keep(StepCall(now_s, describe(step)))
        return step

    def adopt(self, plan: PlanAnswer, now_s: float) -> None:
        """As the core's."""
        self._core.adopt(plan, now_s)
        self._keep(AdoptCall(now_s, plan.request_id, plan))

    def solve(self, request: PlanRequest) -> PlanAnswer:
        """As the core's; an answer counts only once it is adopted."""
        return self._core.solve(request)

    def finish(self, step: Step, outcome: StepOutcome) -> Events:
        """As the core's."""
        events = self._core.finish(step, outcome)
        self._keep(FinishCall(outcome, describe(events)))
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
        if isinstance(entry, SubmitCall):
            recorded, replayed = str(entry.refusal), str(core.submit(entry.request, entry.now_s))
        elif isinstance(entry, StepCall):
            step = core.next_step(entry.now_s)
            if step.plan_request is not None:
                asked = {step.plan_request.id: step.plan_request}
            recorded, replayed = entry.answer, answer(describe(step))
        elif isinstance(entry, FinishCall):
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


SCHEMA_VERSION = 1
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class TextSink(Protocol):
    """Something that takes text, such as an open file."""

    def write(self, text: str, /) -> object:
        """Take text."""
        ...


class JournalFile:
    """Writes entries as they come; a `Journal` keeps them with this."""

    def __init__(self, out: TextSink) -> None:
        self._out = out
        out.write(_encode({"schema_version": SCHEMA_VERSION}) + "\n")

    def __call__(self, entry: Entry) -> None:
        """Write one entry."""
        self._out.write(_encode(_document(entry)) + "\n")


def digest(description: str) -> str:
    """What the file keeps of a description."""
    return hashlib.blake2b(description.encode(), digest_size=12).hexdigest()


def _document(entry: Entry) -> dict[str, object]:
    if isinstance(entry, SubmitCall):
        return {"submit": entry.request, "now_s": entry.now_s, "refusal": entry.refusal}
    if isinstance(entry, StepCall):
        return {"step": digest(entry.answer), "now_s": entry.now_s}
    if isinstance(entry, AdoptCall):
        return {"adopt": entry.request_id, "now_s": entry.now_s}
    outcome = entry.outcome
    stalls = None if outcome.pass_stall_s is None else outcome.pass_stall_s.tolist()
    said = outcome._replace(pass_end_s=outcome.pass_end_s.tolist(), pass_stall_s=stalls)
    return {"finish": said._asdict(), "events": digest(entry.answer)}
