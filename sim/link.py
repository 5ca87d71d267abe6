"""Streaming as events: a ring, a link, and a prefetcher that runs ahead of compute.

The prefetcher walks the host groups in execution order, pass after pass: it waits for room in the
ring, then for the link, then copies. Compute waits for a group's arrival and frees its segment. The
event-level twin of `orbitflow.machine.pipeline.RingPipeline`.
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


class Ring:
    """A staging ring of bytes; whoever asks first is served first."""

    def __init__(self, env: simpy.Environment, capacity_bytes: float) -> None:
        self._env = env
        self._free = capacity_bytes
        self._waiting: deque[tuple[float, simpy.Event]] = deque()

    def take(self, size: float) -> simpy.Event:
        """An event that happens as soon as `size` bytes are free, and takes them."""
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


class Flow:
    """What one batch streams from one step on, while batch and residency stay the same.

    `passes` bounds the prefetcher; None lets it run on while the ring has room.
    """

    def __init__(
        self,
        env: simpy.Environment,
        link: simpy.PriorityResource,
        cost: CostModel,
        step: Step,
        ring_bytes: float = inf,
        passes: int | None = None,
        span: SpanSink | None = None,
    ) -> None:
        self._env = env
        self._link = link
        self._cost = cost
        self._step = step
        self._passes = passes
        self._span = span
        self._ring = Ring(env, ring_bytes)
        demand, _ = streaming_demand(cost, step, passes or _LOOK_AHEAD_PASSES)
        self._demand: TransferDemand | None = demand
        self._arrived: dict[tuple[int, int], simpy.Event] = {}
        self.passes_made = 0
        self._prefetcher = env.process(self._prefetch()) if self._demand else None

    def groups(self, number: int) -> dict[int, Group]:
        """The groups of one pass by layer, counted from the flow's first."""
        return {} if self._demand is None else pass_groups(self._rows(number), number)

    def arrival(self, number: int, layer: int) -> simpy.Event:
        """The event of a group's arrival."""
        return self._arrived.setdefault((number, layer), self._env.event())

    def consumed(self, number: int, group: Group) -> None:
        """A layer is computed: its segment is free."""
        self._arrived.pop((number, group.layer), None)
        if group.ring_bytes:
            self._ring.give_back(group.ring_bytes)

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
        env = self._env
        try:
            for number in count():
                if number == self._passes:
                    return
                for group in self.groups(number).values():
                    if group.ring_bytes:
                        yield self._ring.take(group.ring_bytes)
                    with self._link.request(priority=STREAMING) as turn:
                        yield turn
                        began = env.now
                        yield env.timeout(group.link_s)
                    if self._span is not None and group.link_s:
                        self._span(Span("H2D", f"layer {group.layer}", began, env.now))
                    self.arrival(number, group.layer).succeed()
        except simpy.Interrupt:
            return
