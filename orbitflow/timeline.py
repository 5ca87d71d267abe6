"""`timeline.json`: a run as Chrome trace events, which Perfetto and chrome://tracing open offline.

One complete event (``ph: "X"``, microseconds) per piece of work: tracks for compute, both link
directions, the planner and the CPU's work on KV, and one track per request with its states. After
`MAX_EVENTS` the file ends, and says so, rather than growing beyond what a viewer can load.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from orbitflow.recorder import Lines
from orbitflow.request import Request
from orbitflow.step import Events, Step, StepOutcome

MAX_EVENTS = 400_000
_MACHINE, _REQUESTS = 1, 2
_TRACKS = {"compute": 1, "H2D": 2, "D2H": 3, "planner": 4, "CPU": 5}
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class Span(NamedTuple):
    """Something that took time."""

    track: str
    name: str
    start_s: float
    end_s: float


class Timeline:
    """Writes events as they come. Call `close` to make the file whole."""

    def __init__(self, out: Lines) -> None:
        self._out = out
        self._events = 0
        self.full_at_s: float | None = None  # when the file was full, if it was
        out.write('{"displayTimeUnit":"ms","otherData":{"schema_version":1},"traceEvents":[\n')
        self._name(_MACHINE, 0, "process_name", "machine")
        self._name(_REQUESTS, 0, "process_name", "requests")
        for track, number in _TRACKS.items():
            self._name(_MACHINE, number, "thread_name", track)

    def span(self, span: Span) -> None:
        """Show a piece of the machine's work."""
        self._complete(_MACHINE, _TRACKS[span.track], span.name, span.start_s, span.end_s)

    def state(self, request_id: int, name: str, start_s: float, end_s: float) -> None:
        """Show a request's state."""
        self._complete(_REQUESTS, request_id + 1, name, start_s, end_s)

    def close(self) -> None:
        """End the file."""
        last = {"ph": "M", "pid": _MACHINE, "tid": 0, "name": "is_complete"}
        last["args"] = {"complete": self.full_at_s is None, "full_at_s": self.full_at_s}
        self._out.write(_encode(last) + "\n]}\n")

    def _name(self, process: int, thread: int, kind: str, name: str) -> None:
        event = {"ph": "M", "pid": process, "tid": thread, "name": kind, "args": {"name": name}}
        self._out.write(_encode(event) + ",\n")

    def _complete(self, process: int, thread: int, name: str, start_s: float, end_s: float) -> None:
        if self._events >= MAX_EVENTS:
            if self.full_at_s is None:
                self.full_at_s = start_s
            return
        self._events += 1
        event = {
            "ph": "X",
            "pid": process,
            "tid": thread,
            "name": name,
            "ts": start_s * 1e6,
            "dur": (end_s - start_s) * 1e6,
        }
        self._out.write(_encode(event) + ",\n")


class RequestTracks:
    """Follows requests from state to state through the events of the serving core."""

    def __init__(self, timeline: Timeline, planner_latency_s: float) -> None:
        self._timeline = timeline
        self._planner_latency_s = planner_latency_s
        self._since: dict[int, tuple[str, float]] = {}

    def refused(self, request: Request, reason: str) -> None:
        """A request that is never served has no track."""

    def planned(self, latency_s: float) -> None:
        """Planning is shown from the step that asks for it."""

    def stepped(self, step: Step, outcome: StepOutcome, events: Events) -> None:
        """Take one step's events. Decisions are made at its start, tokens come at its end."""
        if step.plan_request is not None:
            asked_s = step.plan_request.asked_s
            self._timeline.span(Span("planner", "plan", asked_s, asked_s + self._planner_latency_s))
        for request_id in events.admitted:
            self._since[request_id] = ("prefill", outcome.start_s)
        for request_id in events.paused:
            self._change(request_id, "parked", outcome.start_s)
        for request_id in events.resumed:
            self._change(request_id, "running", outcome.start_s)
        for request_id in events.first_tokens:
            self._change(request_id, "running", outcome.end_s)
        for finished in events.finished:
            self._end(finished.request, finished.admitted_s, float(finished.token_times_s[-1]))

    def _change(self, request_id: int, state: str, now_s: float) -> None:
        name, since_s = self._since[request_id]
        self._timeline.state(request_id, name, since_s, now_s)
        self._since[request_id] = (state, now_s)

    def _end(self, request: Request, admitted_s: float, now_s: float) -> None:
        name, since_s = self._since.pop(request.id)
        self._timeline.state(request.id, name, since_s, now_s)
        self._timeline.state(request.id, "waiting", request.arrival_s, admitted_s)
