"""The link as SimPy resources, and streaming over it: a ring, and a prefetcher ahead of compute.

The prefetcher walks the host groups in execution order, pass after pass. It waits for room in the
ring, then for the link, then it copies. Compute waits for a group's arrival and frees its segment.
This is the event-level twin of `orbitflow.machine.pipeline.RingPipeline`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from itertools import count
from math import inf
from typing import Any, NamedTuple

import simpy

from orbitflow.machine.cost import CostModel
from orbitflow.machine.pipeline import TransferDemand
from orbitflow.results.timeline import Span, SpanSink
from orbitflow.sim.pass_work import streaming_demand
from orbitflow.step import Step

Work = Generator[simpy.Event, Any, None]
STREAMING, LOADING = 0, 1  # priorities on the H2D link
_LOOK_AHEAD_PASSES = 64


class Group(NamedTuple):
    """One layer's host pages in one pass; `host_s` is the CPU's time on them."""

    layer: int
    link_s: float
    ring_bytes: float
    host_s: float = 0.0


def pass_groups(demand: TransferDemand, number: int) -> dict[int, Group]:
    """The groups of one pass by layer, in execution order."""
    host_s = [0.0] * len(demand.layers) if demand.host_s is None else demand.host_s[number]
    rows = zip(demand.layers, demand.link_s[number], demand.ring_bytes[number], host_s, strict=True)
    return {layer: Group(layer, float(x), float(size), float(a)) for layer, x, size, a in rows}


class ByteRing:
    """A staging ring of bytes. Requests are served in the order in which they come."""

    def __init__(self, env: simpy.Environment, capacity_bytes: float) -> None:
        self._env = env
        self._free = capacity_bytes
        self._waiting: deque[tuple[float, simpy.Event]] = deque()

    def take(self, size: float) -> simpy.Event:
        """Take `size` bytes. The event happens when they are free."""
        event = self._env.event()
        self._waiting.append((size, event))
        self._serve()
        return event

    def give_back(self, size: float) -> None:
        """Free bytes."""
        self._free += size
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            size, event = self._waiting.popleft()
            self._free -= size
            event.succeed()


class Links:
    """Both directions. H2D serves by priority, D2H first come first served."""

    def __init__(self, env: simpy.Environment, span: SpanSink | None = None) -> None:
        self.env = env
        self.span = span
        self.h2d = simpy.PriorityResource(env)
        self.d2h = simpy.Resource(env)

    def up(self, seconds: float, name: str, priority: int = STREAMING) -> Work:
        """Copy to the GPU for `seconds` when its turn comes."""
        with self.h2d.request(priority=priority) as turn:
            yield turn
            began = self.env.now
            yield self.env.timeout(seconds)
        self.note("H2D", name, began)

    def down(self, seconds: float) -> Work:
        """Copy to the host for `seconds` when its turn comes."""
        with self.d2h.request() as turn:
            yield turn
            began = self.env.now
            yield self.env.timeout(seconds)
        self.note("D2H", "store", began)

    def note(self, track: str, name: str, began_s: float) -> None:
        """Give the timeline a span from `began_s` until now."""
        if self.span is not None and self.env.now > began_s:
            self.span(Span(track, name, began_s, self.env.now))


class Flow:
    """What one batch streams while batch and residency stay the same.

    `passes` bounds the prefetcher; with None it runs on while the ring has room, at most 64 passes
    ahead of compute: groups without a full page take no room.
    """

    def __init__(
        self,
        links: Links,
        cost: CostModel,
        step: Step,
        ring_bytes: float = inf,
        passes: int | None = None,
    ) -> None:
        self._links = links
        self._cost = cost
        self._step = step
        self._passes = passes
        self._ring = ByteRing(links.env, ring_bytes)
        demand, _ = streaming_demand(cost, step, passes or _LOOK_AHEAD_PASSES)
        self._demand: TransferDemand | None = demand
        self._arrived: dict[tuple[int, int], simpy.Event] = {}
        self.passes_made = 0
        self._pass_made = links.env.event()
        self._prefetcher = links.env.process(self._prefetch()) if self._demand else None

    def groups(self, number: int) -> dict[int, Group]:
        """The groups of one pass by layer. Passes are counted from the flow's first."""
        return {} if self._demand is None else pass_groups(self._rows(number), number)

    def arrival(self, number: int, layer: int) -> simpy.Event:
        """The event of a group's arrival."""
        return self._arrived.setdefault((number, layer), self._links.env.event())

    def consumed(self, number: int, group: Group) -> None:
        """A layer is computed: its segment is free."""
        self._arrived.pop((number, group.layer), None)
        if group.ring_bytes:
            self._ring.give_back(group.ring_bytes)

    def end_pass(self) -> None:
        """A pass is made: the prefetcher may go one further."""
        self.passes_made += 1
        made, self._pass_made = self._pass_made, self._links.env.event()
        made.succeed()

    def stop(self) -> None:
        """Drop what is under way or staged; the link is free at once."""
        if self._prefetcher is not None and self._prefetcher.is_alive:
            self._prefetcher.interrupt()

    def _rows(self, number: int) -> TransferDemand:
        assert self._demand is not None
        if number >= len(self._demand.link_s):
            self._demand, _ = streaming_demand(self._cost, self._step, 2 * number)
            assert self._demand is not None
        return self._demand

    def _prefetch(self) -> Work:
        try:
            for number in count():
                if number == self._passes:
                    return
                while number >= self.passes_made + _LOOK_AHEAD_PASSES:
                    yield self._pass_made
                for group in self.groups(number).values():
                    if group.ring_bytes:
                        yield self._ring.take(group.ring_bytes)
                    yield from self._links.up(group.link_s, f"layer {group.layer}")
                    self.arrival(number, group.layer).succeed()
        except simpy.Interrupt:
            return
