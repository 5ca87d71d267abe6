"""Both directions of the link as SimPy resources, and the spans of what happens on the machine."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import simpy
from orbitflow.results.timeline import Span, SpanSink
from orbitflow.sim.link import STREAMING

Work = Generator[simpy.Event, Any, None]


class Links:
    """H2D serves by priority, D2H first come first served."""

    def __init__(self, env: simpy.Environment, span: SpanSink | None = None) -> None:
        self.env = env
        self.span = span
        self.h2d = simpy.PriorityResource(env)
        self.d2h = simpy.Resource(env)

    def up(self, seconds: float, name: str, priority: int = STREAMING) -> Work:
        """Copy to the GPU for `seconds` as soon as it is one's turn."""
        with self.h2d.request(priority=priority) as turn:
            yield turn
            began = self.env.now
            yield self.env.timeout(seconds)
        self.note("H2D", name, began)

    def down(self, seconds: float) -> Work:
        """Copy to the host for `seconds` as soon as it is one's turn."""
        with self.d2h.request() as turn:
            yield turn
            began = self.env.now
            yield self.env.timeout(seconds)
        self.note("D2H", "store", began)

    def note(self, track: str, name: str, began_s: float) -> None:
        """Show what has been going on since `began_s`."""
        if self.span is not None and self.env.now > began_s:
            self.span(Span(track, name, began_s, self.env.now))
