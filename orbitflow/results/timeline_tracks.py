"""What a timeline shows of a run besides the machine's own spans: requests, passes and counters,
followed through the events of the serving core, the same for simulator and backend.

The deposit is what is made and not yet delivered at the SLO's pace. With d the delivery of a
request's last token so far and t no earlier than any token,

    deposit_r(t) = max(0, ceil((d - t) / tau_r)),   d = due_r - tau_r

because whatever is not delivered follows its predecessor by exactly tau (`orbitflow.slo`).
"""

from __future__ import annotations

from math import ceil

import numpy as np

from orbitflow.engine.engine import ServingCore
from orbitflow.policy.token_deposit import TokenDeposit
from orbitflow.request import Request
from orbitflow.results.timeline import Span, Timeline
from orbitflow.step import Events, Observer, Observers, Step, StepOutcome

_EQUAL = 1e-9  # of a tau: what rounding may make of a token that is delivered now


class _StepObserver:
    """An observer that looks at steps only."""

    def refused(self, request: Request, reason: str) -> None:
        """A refused request is not shown."""

    def planned(self, latency_s: float) -> None:
        """Planning is shown from the step that asks for it."""


class RequestTracks(_StepObserver):
    """Follows requests from state to state. The planner's latency is None where its spans come from
    elsewhere.
    """

    def __init__(
        self, timeline: Timeline, core: ServingCore, planner_latency_s: float | None
    ) -> None:
        self._timeline = timeline
        self._queues = core.queues
        self._planner_latency_s = planner_latency_s
        self._since: dict[int, tuple[str, float]] = {}

    def stepped(self, step: Step, outcome: StepOutcome, events: Events) -> None:
        """Take one step's events. Decisions are made at its start, tokens come at its end."""
        if step.plan_request is not None and self._planner_latency_s is not None:
            asked_s = step.plan_request.asked_s
            self._timeline.span(Span("planner", "plan", asked_s, asked_s + self._planner_latency_s))
        for request_id in events.admitted:
            self._since[request_id] = ("prefill", self._admitted_s(request_id, events))
        for request_id in events.paused:
            self._change(request_id, "paused", outcome.start_s)
        for request_id in events.resumed:
            self._change(request_id, "running", outcome.start_s)
        for request_id in events.first_tokens:
            self._change(request_id, "running", outcome.end_s)
        for finished in events.finished:
            self._end(finished.request, finished.admitted_s, float(finished.token_times_s[-1]))

    def close(self, now_s: float) -> None:
        """Show the requests that are still here, up to now: the run was interrupted."""
        sequences = {**self._queues.active, **self._queues.paused}
        for request_id in list(self._since):
            sequence = sequences[request_id]
            self._end(sequence.request, sequence.admitted_s, now_s)
        for request in self._queues.waiting.values():
            self._timeline.state(request.id, "waiting", request.arrival_s, now_s)

    def _admitted_s(self, request_id: int, events: Events) -> float:
        """When the decision was made, which on a real clock is before the step begins."""
        for sequences in (self._queues.active, self._queues.paused):
            if request_id in sequences:
                return sequences[request_id].admitted_s
        return next(f.admitted_s for f in events.finished if f.request.id == request_id)

    def _change(self, request_id: int, state: str, now_s: float) -> None:
        name, since_s = self._since[request_id]
        self._timeline.state(request_id, name, since_s, now_s)
        self._since[request_id] = (state, now_s)

    def _end(self, request: Request, admitted_s: float, now_s: float) -> None:
        name, since_s = self._since.pop(request.id)
        self._timeline.state(request.id, name, since_s, now_s)
        self._timeline.state(request.id, "waiting", request.arrival_s, admitted_s)


class PassSpans(_StepObserver):
    """Shows each pass as one span of compute, its waits included."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline

    def stepped(self, step: Step, outcome: StepOutcome, events: Events) -> None:
        """Show the passes of a step; the first one begins with its blocking moves."""
        start_s = outcome.start_s
        for end_s in outcome.pass_end_s.tolist():
            name = "prefill" if step.chunks else "decode"
            self._timeline.span(Span("compute", name, start_s, end_s))
            start_s = end_s


class UndeliveredTokens:
    """Counts the tokens that are made and not yet delivered, of all requests."""

    def __init__(self) -> None:
        self._bank = TokenDeposit()
        self._tbt_limits_s: dict[int, float] = {}

    def open(self, request_id: int, tbt_limit_s: float, now_s: float) -> None:
        """A first token is out, and delivered at once."""
        self._bank.open(request_id, tbt_limit_s, now_s)
        self._tbt_limits_s[request_id] = tbt_limit_s

    def add(self, request_ids: tuple[int, ...], now_s: float) -> None:
        """Each of these requests got a token. Those that `open` has not seen have no deposit."""
        known = [request_id for request_id in request_ids if request_id in self._tbt_limits_s]
        self._bank.add(known, np.array([now_s]))

    def tokens(self, now_s: float, gone: set[int]) -> int:
        """The deposit now. A request in `gone` is forgotten once all its tokens are delivered."""
        total = 0
        for request_id, tbt_limit_s in list(self._tbt_limits_s.items()):
            due_s = self._bank.due_s(request_id)
            assert due_s is not None
            left = max(0, ceil((due_s - tbt_limit_s - now_s) / tbt_limit_s - _EQUAL))
            total += left
            if not left and request_id in gone:
                gone.discard(request_id)
                self._bank.close(request_id)
                del self._tbt_limits_s[request_id]
        return total


class Counters(_StepObserver):
    """Counters of the serving core: the deposit at the start of each step and the end of
    each pass, requests by state and pages held at the end of each step.
    """

    def __init__(self, timeline: Timeline, core: ServingCore, *, paced: bool) -> None:
        self._timeline = timeline
        self._core = core
        self._deposits = UndeliveredTokens() if paced else None
        self._gone: set[int] = set()
        self._shown: dict[str, dict[str, int]] = {}

    def stepped(self, step: Step, outcome: StepOutcome, events: Events) -> None:
        """Show what a step has changed."""
        if self._timeline.is_full:
            return
        if self._deposits is not None:
            self._count_deposits(self._deposits, step, outcome, events)
        queues, account = self._core.queues, self._core.account
        prefilling = sum(1 for _ in queues.prefills)
        states = {
            "running": len(queues.active) - prefilling,
            "prefill": prefilling,
            "waiting": len(queues.waiting),
            "paused": len(queues.paused),
        }
        self._show("requests", outcome.end_s, states)
        pages = {"gpu": account.gpu_used, "host": account.host_used}
        self._show("KV pages", outcome.end_s, pages)

    def _count_deposits(
        self, deposits: UndeliveredTokens, step: Step, outcome: StepOutcome, events: Events
    ) -> None:
        self._show_deposit(deposits, outcome.start_s)
        again = tuple(
            chunk.request_id
            for chunk in step.chunks
            if chunk.is_last and chunk.request_id not in events.first_tokens
        )  # dropped before: this token is not their first
        for now_s in events.tokens.times_s.tolist():
            deposits.add((*events.tokens.request_ids, *again), now_s)
            self._show_deposit(deposits, now_s)
        for request_id in events.first_tokens:
            sequence = self._core.queues.active.get(request_id)
            if sequence is not None:  # else its first token was its last
                deposits.open(request_id, sequence.tbt_limit_s, outcome.end_s)
        self._gone.update(finished.request.id for finished in events.finished)

    def _show_deposit(self, deposits: UndeliveredTokens, now_s: float) -> None:
        self._show("deposit", now_s, {"tokens": deposits.tokens(now_s, self._gone)})

    def _show(self, name: str, now_s: float, values: dict[str, int]) -> None:
        """Write a counter if it has changed."""
        if self._shown.get(name) != values:
            self._shown[name] = values
            self._timeline.counter(name, now_s, values)


class Tracks:
    """Observers of one run that write its timeline."""

    def __init__(
        self,
        timeline: Timeline,
        core: ServingCore,
        *,
        paced: bool,
        by_pass: bool,
        planner_latency_s: float | None = None,
    ) -> None:
        self._requests = RequestTracks(timeline, core, planner_latency_s)
        watching: list[Observer] = [self._requests, Counters(timeline, core, paced=paced)]
        if by_pass:
            watching.append(PassSpans(timeline))
        self.observer = Observers(*watching)

    def close(self, now_s: float) -> None:
        """Show the requests that are still here."""
        self._requests.close(now_s)
