"""`timeline.json` of a run: what the simulator's shows, measured.

Spans come from several threads (compute, two copying ones, the planner); each only puts its span
into a queue, and the thread that steps writes them. On a CPU a layer's computing is over when its
call returns, so a span per layer is two readings of the clock. On CUDA it is not: there passes are
shown, which end with a synchronisation in any case, and transfers by the events that time them
anyway. Design section 6.
"""

from __future__ import annotations

from collections import deque

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
    """An observer of one run, and where its parts put what they did. `close` ends the file."""

    def __init__(self, out: LineSink, core: ServingCore, *, paced: bool, on_cpu: bool) -> None:
        self._timeline = Timeline(out, _CPU if on_cpu else _CUDA)
        self._tracks = Tracks(self._timeline, core, paced=paced, by_pass=not on_cpu)
        self._spans: deque[Span] = deque()
        self.layer_sink: SpanSink | None = self.span if on_cpu else None

    def span(self, span: Span) -> None:
        """Show this; from any thread."""
        self._spans.append(span)

    def transfer(self, label: str, start_s: float, end_s: float) -> None:
        """Show a transfer, whose label begins with its direction; from any thread."""
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
        """Write what has come up to a step's end."""
        self._write()
        self._tracks.observer.stepped(step, outcome, events)

    def close(self, now_s: float) -> None:
        """Write the rest, with whoever is still here."""
        self._write()
        self._tracks.close(now_s)
        self._timeline.close()

    def _write(self) -> None:
        while self._spans:
            self._timeline.span(self._spans.popleft())
