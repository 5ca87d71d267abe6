"""One pass, layer by layer: the order in which a form fetches, has the CPU work, and computes.

serial, paper, ring   wait for the group (serial: and for the CPU), compute, free the segment
batches               fetch, compute for the host's sub-batch, then the CPU and the rest in parallel
barrier               the next layer's group travels beside this layer; if the CPU has to gather
                      that group, it travels once this layer has attended

This is the event-level twin of the forms in `orbitflow.machine.pipeline`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

import simpy

from orbitflow.arrays import FloatArray
from orbitflow.engine.policy import DataPlane
from orbitflow.machine.cost import CostModel
from orbitflow.machine.pipeline import Overlap
from orbitflow.sim.link import Flow, Group, Links, Work, pass_groups
from orbitflow.sim.pass_work import gpu_work, streaming_demand
from orbitflow.step import Move, MoveKind, Step

Stall = Generator[simpy.Event, Any, float]  # gives the seconds that compute waited


class StepCounters:
    """What a step moved and how long compute waited; `stalls` has one entry for each pass done."""

    def __init__(self, cost: CostModel, blocking: Iterable[Move]) -> None:
        self._cost = cost
        self.stalls: list[float] = []
        self.link_s = 0.0
        self.h2d_bytes = self.d2h_bytes = 0
        for move in blocking:
            if move.kind in (MoveKind.PAUSE, MoveKind.DEMOTE):
                self.d2h_bytes += move.pages * cost.page_bytes
            else:
                self.up(move.pages, cost.layers)

    def up(self, pages: int, runs: int) -> None:
        """Count a move to the GPU."""
        size = pages * self._cost.page_bytes
        self.h2d_bytes += size
        self.link_s += self._cost.copy_s(self._cost.h2d, size, runs)


class LayerPass:
    """Pass number `number` of a step. `slowed` stretches its compute, shape (1,)."""

    def __init__(
        self,
        links: Links,
        cost: CostModel,
        plane: DataPlane,
        step: Step,
        number: int,
        slowed: FloatArray | None = None,
    ) -> None:
        self._env = links.env
        self._links = links
        self._cost = cost
        self._plane = plane
        self._step = step
        self._now = _later(step, number)
        self._work = gpu_work(cost, plane, step, 1, number)
        if slowed is not None:
            self._work = self._work.slowed(slowed)
        self._writes: list[simpy.Event] = []

    def perform(self, flow: Flow | None, counters: StepCounters) -> Work:
        """Do the pass and count what it moved and waited. `flow` prefetches for it, if given."""
        env, cost, links = self._env, self._cost, self._links
        demand, size = streaming_demand(cost, self._now, 1, self._plane.host_read)
        groups = {} if demand is None else pass_groups(demand, 0)
        if self._plane.overlap is Overlap.PAPER:
            flow = Flow(links, cost, self._now, passes=1)
        if flow is not None:
            groups = flow.groups(flow.passes_made)
        link_s = sum(group.link_s for group in groups.values())
        counters.link_s += link_s
        counters.h2d_bytes += int(size[0])
        if cost.link_slowdown and groups:
            busy = (link_s / self._work.total_s).clip(max=1.0)
            self._work = self._work.slowed(1 + cost.link_slowdown * busy)
        if self._plane.overlap is Overlap.BARRIER:
            stall_s = yield from self._one_ahead(groups)
        else:
            stall_s = yield from self._in_turn(groups, flow)
        waits_from = env.now
        yield env.all_of(self._writes)
        counters.stalls.append(stall_s + env.now - waits_from)
        if flow is not None:
            flow.end_pass()

    # -- forms ---------------------------------------------------------------------------------

    def _in_turn(self, groups: dict[int, Group], flow: Flow | None) -> Stall:
        stall_s = 0.0
        for layer in range(self._cost.layers):
            group = groups.get(layer)
            if group is not None:
                waits_from = self._env.now
                if flow is None:
                    yield from self._links.up(group.link_s, f"layer {layer}")
                else:
                    yield flow.arrival(flow.passes_made, layer)
                if self._plane.overlap is Overlap.SERIAL and group.host_s:
                    yield from self._cpu(group)
                stall_s += self._env.now - waits_from
            if group is not None and self._plane.overlap is Overlap.BATCHES and group.host_s:
                stall_s += yield from self._two_batches(group)
            else:
                yield from self._compute(layer, self._layer_s)
            if flow is not None and group is not None:
                flow.consumed(flow.passes_made, group)
            self._write_out(layer)
        yield from self._compute(None, self._outside_s)
        return stall_s

    def _two_batches(self, group: Group) -> Stall:
        other_s = self._layer_s * self._beside
        yield from self._compute(group.layer, self._layer_s - other_s)
        return (yield from self._beside_compute(group.layer, other_s, self._cpu(group)))

    def _one_ahead(self, groups: dict[int, Group]) -> Stall:
        stall_s = yield from self._beside_group(None, self._outside_s, groups.get(0))
        for layer in range(self._cost.layers):
            ahead = groups.get(layer + 1)
            stall_s += yield from self._beside_group(layer, self._layer_s, ahead)
            self._write_out(layer)
        return stall_s

    def _beside_group(self, layer: int | None, seconds: float, group: Group | None) -> Stall:
        """Compute a layer (None: what is outside the layers) while the next layer's group comes."""
        if group is None:
            yield from self._compute(layer, seconds)
            return 0.0
        rest_s, gathers_s = seconds, 0.0
        if group.host_s:
            rest_s = seconds if layer is None else seconds * self._beside
            yield from self._compute(layer, seconds - rest_s)
            began = self._env.now
            yield from self._cpu(group)
            gathers_s = self._env.now - began
        fetch = self._links.up(group.link_s, f"layer {group.layer}")
        return gathers_s + (yield from self._beside_compute(layer, rest_s, fetch))

    # -- pieces --------------------------------------------------------------------------------

    def _beside_compute(self, layer: int | None, seconds: float, other: Work) -> Stall:
        """Compute while `other` goes on. The stall runs from the end of compute to that of both:
        two times of the clock, the later minus the earlier, so rounding cannot make it negative.
        """
        env = self._env
        computed_at = env.now

        def compute() -> Work:
            nonlocal computed_at
            yield from self._compute(layer, seconds)
            computed_at = env.now

        yield env.all_of([env.process(compute()), env.process(other)])
        return env.now - computed_at

    @property
    def _layer_s(self) -> float:
        return float(self._work.layer_s(self._cost.layers)[0])

    @property
    def _outside_s(self) -> float:
        return min(float(self._work.total_s[0]), self._work.outside_s)

    @property
    def _beside(self) -> float:
        return 1.0 if self._work.beside is None else float(self._work.beside[0])

    def _compute(self, layer: int | None, seconds: float) -> Work:
        began = self._env.now
        if seconds or layer is not None:
            yield self._env.timeout(seconds)
        if layer is not None:
            self._links.note("compute", f"layer {layer}", began)

    def _cpu(self, group: Group) -> Work:
        began = self._env.now
        yield self._env.timeout(group.host_s)
        self._links.note("CPU", f"layer {group.layer}", began)

    def _write_out(self, layer: int) -> None:
        """Start writing out what chunks leave on the host in this layer, one run each."""
        cost = self._cost
        for chunk in self._step.chunks:
            new = cost.new_pages(chunk.start, chunk.tokens) if layer in chunk.host_layers else 0
            if new:
                seconds = cost.copy_s(cost.d2h, new * cost.page_bytes)
                self._writes.append(self._env.process(self._links.down(seconds)))


def _later(step: Step, passes: int) -> Step:
    """The step as its streams are `passes` passes later."""
    streams = tuple(s._replace(contexts=s.contexts + passes) for s in step.streams)
    return step._replace(streams=streams)
