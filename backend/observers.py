"""Observers of a backend run: the token ids of every request, and the measured timeline.

`tokens.jsonl` has a line for each request, in the order in which requests ended. At the end of an
unfinished run the tokens generated so far are written, with the status "unfinished".

`timeline.json` shows what the simulator's does, measured. Spans come from several threads: compute,
two copying threads, the planner. Each thread only queues its span; the thread that steps writes it.
On a CPU a layer is done when its call returns, so a span per layer costs two readings of the clock.
On CUDA it is not; there the timeline has passes, which end with a synchronisation in any case, and
transfers, timed by their events. Design section 6.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping

from orbitflow.engine.engine import ServingCore
from orbitflow.request import Request
from orbitflow.results.recorder import LineSink
from orbitflow.results.timeline import Origin, Span, SpanSink, Timeline
from orbitflow.results.timeline_tracks import Tracks
from orbitflow.step import Events, Step, StepOutcome

_CLOCK = (
    "real seconds since the start of the run; arrivals are the trace's, times --time-scale, "
    "nothing else is scaled"
)
_CPU = Origin("backend", "layer", _CLOCK, "the emulated link's own schedule, kept by copying")
_CUDA = Origin("backend", "pass", _CLOCK, "CUDA events around each transfer; never run on a GPU")


class Watch:
    """Writes the timeline of one run. `close` ends the file."""

    def __init__(self, out: LineSink, core: ServingCore, *, paced: bool, on_cpu: bool) -> None:
        self._timeline = Timeline(out, _CPU if on_cpu else _CUDA)
        self._tracks = Tracks(self._timeline, core, paced=paced, by_pass=not on_cpu)
        self._spans: deque[Span] = deque()
        self.layer_sink: SpanSink | None = self.span if on_cpu else None

    def span(self, span: Span) -> None:
        """Queue a span, from any thread."""
        self._spans.append(span)

    def transfer(self, label: str, start_s: float, end_s: float) -> None:
        """Queue a transfer, from any thread. Its label begins with its direction."""
        track, _, name = label.partition(" ")
        if end_s > start_s:
            self._spans.append(Span(track, name or "copy", start_s, end_s))

    def refused(self, request: Request, reason: str) -> None:
        """A request that can never be served."""
        self._tracks.observer.refused(request, reason)

    def planned(self, latency_s: float) -> None:
        """The planner's thread has put its span already."""
        self._tracks.observer.planned(latency_s)

    def stepped(self, step: Step, outcome: StepOutcome, events: Events) -> None:
        """Write all spans up to the step's end."""
        self._write()
        self._tracks.observer.stepped(step, outcome, events)

    def close(self, now_s: float) -> None:
        """Write the rest, with the requests that have not ended."""
        self._write()
        self._tracks.close(now_s)
        self._timeline.close()

    def _write(self) -> None:
        while self._spans:
            self._timeline.span(self._spans.popleft())


_encode = json.JSONEncoder(separators=(",", ":")).encode


class TokenFile:
    """Writes `tokens.jsonl`. `tokens` has the prompt and the generated tokens of each request."""

    def __init__(
        self, out: LineSink, tokens: dict[int, list[int]], requests: Mapping[int, Request]
    ) -> None:
        self._out = out
        self._tokens = tokens
        self._requests = requests

    def refused(self, request: Request, reason: str) -> None:
        """A refused request has no tokens."""

    def stepped(self, step: Step, outcome: StepOutcome, events: Events) -> None:
        """Write and forget the tokens of finished requests."""
        for finished in events.finished:
            self._write(finished.request.id, "completed")

    def planned(self, latency_s: float) -> None:
        """Nothing to write."""

    def finish(self) -> None:
        """Write the tokens of requests that have not finished."""
        for request_id in sorted(self._tokens):
            self._write(request_id, "unfinished")

    def _write(self, request_id: int, status: str) -> None:
        prompt_tokens = self._requests[request_id].prompt_tokens
        generated = self._tokens.pop(request_id)[prompt_tokens:]
        line = {"id": request_id, "status": status, "tokens": generated}
        self._out.write(_encode(line) + "\n")
