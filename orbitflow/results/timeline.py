"""`timeline.json`: a run as Chrome trace events, which Perfetto and chrome://tracing open offline.

One complete event (``ph: "X"``, microseconds) per piece of work: tracks for compute, both link
directions, the planner and the CPU's work on KV, and one track per request with its states; and
counters (``ph: "C"``). Simulator and backend write the same, from the same origin. After
`MAX_EVENTS` the file ends, and says so, rather than growing beyond what a viewer can load.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from orbitflow.results.recorder import LineSink

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


SpanSink: TypeAlias = Callable[[Span], object]


class Origin(NamedTuple):
    """What a timeline shows: who made it, what a span of compute is, and whose clock it is on."""

    source: str  # simulation | backend
    compute: str  # layer | pass
    clock: str
    link: str


class Timeline:
    """Writes events as they come. Call `close` to make the file whole."""

    def __init__(self, out: LineSink, origin: Origin) -> None:
        self._out = out
        self._events = 0
        self.full_at_s: float | None = None  # when the file was full, if it was
        about = _encode({"schema_version": 1, **origin._asdict()})
        out.write(f'{{"displayTimeUnit":"ms","otherData":{about},"traceEvents":[\n')
        self._name(_MACHINE, 0, "process_name", "machine")
        self._name(_REQUESTS, 0, "process_name", "requests")
        for track, number in _TRACKS.items():
            self._name(_MACHINE, number, "thread_name", track)

    @property
    def is_full(self) -> bool:
        """Whether nothing more is shown."""
        return self._events >= MAX_EVENTS

    def span(self, span: Span) -> None:
        """Show a piece of the machine's work."""
        self._complete(_MACHINE, _TRACKS[span.track], span.name, span.start_s, span.end_s)

    def state(self, request_id: int, name: str, start_s: float, end_s: float) -> None:
        """Show a request's state."""
        self._complete(_REQUESTS, request_id + 1, name, start_s, end_s)

    def counter(self, name: str, at_s: float, values: Mapping[str, int]) -> None:
        """Show counts from that moment on."""
        event = {"ph": "C", "pid": _MACHINE, "tid": 0, "name": name, "ts": at_s * 1e6}
        self._add({**event, "args": values}, at_s)

    def close(self) -> None:
        """End the file."""
        last = {"ph": "M", "pid": _MACHINE, "tid": 0, "name": "is_complete"}
        last["args"] = {"complete": self.full_at_s is None, "full_at_s": self.full_at_s}
        self._out.write(_encode(last) + "\n]}\n")

    def _name(self, process: int, thread: int, kind: str, name: str) -> None:
        event = {"ph": "M", "pid": process, "tid": thread, "name": kind, "args": {"name": name}}
        self._out.write(_encode(event) + ",\n")

    def _complete(self, process: int, thread: int, name: str, start_s: float, end_s: float) -> None:
        event = {
            "ph": "X",
            "pid": process,
            "tid": thread,
            "name": name,
            "ts": start_s * 1e6,
            "dur": (end_s - start_s) * 1e6,
        }
        self._add(event, start_s)

    def _add(self, event: Mapping[str, object], start_s: float) -> None:
        if self.is_full:
            if self.full_at_s is None:
                self.full_at_s = start_s
            return
        self._events += 1
        self._out.write(_encode(event) + ",\n")
