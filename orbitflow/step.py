"""What crosses the border between the serving core and its drivers: steps down, outcomes up, events
out; and the two protocols of that border, the core that a driver feeds and those who watch it.

Plain tuples, made once per step and never per token. The simulator and the backend drive the same
core before the same observers; they differ in their clock and in who carries the steps out. Design
section 2.1.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple, Protocol

import numpy as np

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.placement import HostLayers
from orbitflow.request import Request


class MoveKind(StrEnum):
    """What a move does to where KV lives."""

    PROMOTE = (
        "promote"  # host -> GPU for a running request: its staged copy is kept, so no extra bytes
    )
    DEMOTE = "demote"  # GPU -> host: frees pages as soon as their stores are done
    PAUSE = "park"  # stop running: flush the tail pages, free everything on the GPU
    RESUME = "resume"  # run again: bring the tail pages back; other layers stream or are promoted
    LOAD = "load"  # host -> GPU for a paused request, ahead of its resumption


class Move(NamedTuple):
    """One relocation of KV. Residency changes when an outcome's `moves_done` names the id.

    A blocking move ends before the step's first pass; a background one uses the link when it is
    idle.
    """

    id: int
    kind: MoveKind
    request_id: int
    layers: HostLayers
    pages: int  # pages that cross the link because of this move
    blocking: bool


class PrefillChunk(NamedTuple):
    """A piece of one prompt: tokens [start, start + tokens).

    Its new pages are written out in `host_layers`; the pages behind it come back over the link in
    `streamed_layers`.
    """

    request_id: int
    start: int
    tokens: int
    is_last: bool
    host_layers: HostLayers
    streamed_layers: HostLayers


class Stream(NamedTuple):
    """Requests that stream the same layers in every pass.

    `contexts` are their context lengths in the step's first pass, shape (requests,), in tokens;
    `layers` cross the link, and those of them in `staged` go through the ring (the others are being
    promoted).
    """

    layers: HostLayers
    staged: HostLayers
    contexts: IntArray


class PlanRequest(NamedTuple):
    """An immutable question to the policy's planner, to be solved beside the running step."""

    id: int
    asked_s: float
    snapshot: Any  # whatever the policy's own `solve` understands; never a live object


class PlanAnswer(NamedTuple):
    """A planner's answer, adopted between two passes."""

    request_id: int  # the PlanRequest's id
    body: Any


class Step(NamedTuple):
    """What the driver must do next: blocking moves, then `passes` passes; the first carries the
    chunks.
    """

    number: int
    chunks: tuple[PrefillChunk, ...]
    decode_ids: tuple[int, ...]
    context_tokens: (
        int  # summed over decode_ids, in the first pass, the token being decoded included
    )
    contexts: IntArray | None  # per decode id, where the policy stores or streams KV
    streams: tuple[Stream, ...]
    ring_pages: int
    moves: tuple[Move, ...]  # new ones; the driver remembers those that are still under way
    passes: int
    version: int  # same number as before: same batch and residency, so prefetched KV is still good
    stop_on_arrival: bool  # whether an arrival should end the step at the next pass boundary
    plan_request: PlanRequest | None = None


class Idle(NamedTuple):
    """Nothing to do until that time, or until a request arrives or a plan is adopted (None)."""

    until_s: float | None
    plan_request: PlanRequest | None = None


class StepOutcome(NamedTuple):
    """What a driver measured. Arrays have one entry per pass done, maybe fewer than asked."""

    start_s: float
    pass_end_s: FloatArray  # absolute
    stall_s: float  # time in all passes that compute waited for the link
    link_busy_s: float  # H2D link time of all transfers
    h2d_bytes: int
    d2h_bytes: int
    moves_done: tuple[int, ...]
    end_s: float  # the last pass's end, or when a step without passes ended
    pass_stall_s: FloatArray | None = None  # stall by pass; None: all zero

    @property
    def pass_s(self) -> FloatArray:
        """Duration of each pass in seconds, blocking moves before the first one included."""
        return np.diff(self.pass_end_s, prepend=self.start_s)


class TokenSegment(NamedTuple):
    """Tokens of a step: every one of `request_ids` got one at every time of `times_s`."""

    request_ids: tuple[int, ...]
    times_s: FloatArray


class Finished(NamedTuple):
    """A request that is complete, with the generation time of each of its tokens, shape
    (output_tokens,).
    """

    request: Request
    admitted_s: float
    token_times_s: FloatArray
    paused_s: float


class Events(NamedTuple):
    """What happened in a step."""

    admitted: tuple[int, ...]
    first_tokens: tuple[int, ...]  # at the end of the step
    tokens: TokenSegment
    paused: tuple[int, ...]
    resumed: tuple[int, ...]
    finished: tuple[Finished, ...]


class Core(Protocol):
    """What a driver needs of the serving core; a `Journal` will do as well."""

    @property
    def is_drained(self) -> bool:
        """Whether every request is finished and every page free."""
        ...

    def submit(self, request: Request, now_s: float) -> str | None:
        """Queue a request, or say why it can never be served."""
        ...

    def next_step(self, now_s: float) -> Step | Idle:
        """Say what to do next."""
        ...

    def solve(self, request: PlanRequest) -> PlanAnswer:
        """Answer a plan request."""
        ...

    def adopt(self, plan: PlanAnswer, now_s: float) -> None:
        """Take a plan."""
        ...

    def finish(self, step: Step, outcome: StepOutcome) -> Events:
        """Take a step's outcome."""
        ...


class Observer(Protocol):
    """Watches a run; results are made from what it sees."""

    def refused(self, request: Request, reason: str) -> None:
        """A request that can never be served."""
        ...

    def stepped(self, step: Step, outcome: StepOutcome, events: Events) -> None:
        """A step that is done."""
        ...

    def planned(self, latency_s: float) -> None:
        """A plan that was asked for, and how long its answer takes."""
        ...


class Observers:
    """Several observers, told in order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def refused(self, request: Request, reason: str) -> None:
        """Tell every observer."""
        for observer in self._observers:
            observer.refused(request, reason)

    def stepped(self, step: Step, outcome: StepOutcome, events: Events) -> None:
        """Tell every observer."""
        for observer in self._observers:
            observer.stepped(step, outcome, events)

    def planned(self, latency_s: float) -> None:
        """Tell every observer."""
        for observer in self._observers:
            observer.planned(latency_s)
