"""Fidelity `layer`: every layer's compute and every transfer is an event, each link direction a
resource.

The reference that keeps fidelity `step` honest, and the source of timelines. While the link carries
only decode streaming both agree to rounding. They differ, within bounds that the tests measure,
where the link is shared: here a prompt's layers are written out one by one as they are computed,
loads take whole pages of link time, and a chunk beside the decode starts prefetching afresh.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

import numpy as np
import simpy

from orbitflow.cost import CostModel
from orbitflow.pipeline import Overlap
from orbitflow.policy.base import DataPlane
from orbitflow.request import Request
from orbitflow.sim.demand import streaming_demand
from orbitflow.sim.engine import Core, Observer, Performance, Process, Server
from orbitflow.sim.flow import LOADING, STREAMING, Flow, Group, SpanSink, pass_groups
from orbitflow.step import Move, MoveKind, Step, StepOutcome
from orbitflow.timeline import Span


class LayerMachine:
    """Carries steps out in simulated time. It keeps the links, the flow and background loads."""

    def __init__(
        self,
        env: simpy.Environment,
        cost: CostModel,
        data_plane: DataPlane,
        span: SpanSink | None = None,
    ) -> None:
        self._env = env
        self._cost = cost
        self._plane = data_plane
        self._span = span
        self._h2d = simpy.PriorityResource(env)
        self._d2h = simpy.Resource(env)
        self._flow: Flow | None = None
        self._flow_key: tuple[int, int] | None = None  # (version, ring pages)
        self._loaded: list[Move] = []
        self._load_done = env.event()

    def perform(self, step: Step, stop_at_s: float) -> Performance:
        """Do a step, now; end it at the first pass boundary at or after `stop_at_s`."""
        env, start_s = self._env, self._env.now
        key = (step.version, step.ring_pages)
        if key != self._flow_key or step.chunks:
            self._drop_flow()
        blocking = [m for m in step.moves if m.blocking]
        yield env.all_of([env.process(self._blocking(m)) for m in blocking])
        for move in step.moves:
            if move.kind is MoveKind.LOAD and not move.blocking:
                env.process(self._load(move))
        if not (step.passes or blocking or self._loaded):
            yield self._load_done
        done = [m.id for m in blocking]
        promoted = [m.id for m in step.moves if m.kind is MoveKind.PROMOTE]
        moved = _Tally(self._cost, blocking)
        begin_s = env.now
        if self._flow is None and step.passes and self._plane.overlap is Overlap.RING:
            ring_bytes = float(step.ring_pages * self._cost.page_bytes)
            passes = 1 if step.chunks else None
            self._flow = Flow(env, self._h2d, self._cost, step, ring_bytes, passes, self._span)
            self._flow_key = key
        ends: list[float] = []
        for number in range(1 if promoted else step.passes):
            yield from self._pass(step, number, moved)
            ends.append(env.now)
            self._store(step, number, moved)
            if env.now >= stop_at_s or self._loaded:
                break
        for move in self._loaded:
            moved.up(move.pages, len(move.layers))
        done += [*promoted, *(m.id for m in self._loaded)]
        self._loaded = []
        if step.chunks:
            self._drop_flow()
        stall = np.array(moved.stalls)
        if len(stall):
            stall[0] += begin_s - start_s
        return StepOutcome(
            start_s,
            np.array(ends),
            float(stall.sum()),
            moved.link_s,
            moved.h2d_bytes,
            moved.d2h_bytes,
            tuple(done),
            env.now,
            stall,
        )

    def _drop_flow(self) -> None:
        if self._flow is not None:
            self._flow.stop()
        self._flow = self._flow_key = None

    # -- one pass ------------------------------------------------------------------------------

    def _pass(self, step: Step, number: int, moved: _Tally) -> Process:
        env, cost, overlap = self._env, self._cost, self._plane.overlap
        flow, groups = self._flow, dict[int, Group]()
        if overlap is Overlap.PAPER:
            flow = Flow(env, self._h2d, cost, _later(step, number), inf, 1, self._span)
        if flow is not None:
            groups = flow.groups(flow.passes_made)
        elif (demand := streaming_demand(cost, _later(step, number), 1)[0]) is not None:
            groups = pass_groups(demand, 0)
        moved.stream(groups, step, number)
        compute_s = self._compute_s(step, number, sum(g.link_s for g in groups.values()))
        outside_s = min(compute_s, cost.decode.outside_s)
        layer_s = (compute_s - outside_s) / cost.layers
        stall_s = 0.0
        writes = []
        for layer in range(cost.layers):
            group = groups.get(layer)
            if group is not None:
                waits_from = env.now
                if flow is None:
                    yield env.process(self._fetch(group))
                else:
                    yield flow.arrival(flow.passes_made, layer)
                stall_s += env.now - waits_from
            began = env.now
            yield env.timeout(layer_s)
            self._note("compute", f"layer {layer}", began)
            if flow is not None and group is not None:
                flow.consumed(flow.passes_made, group)
            writes += [env.process(self._write(p)) for p in _written(step, layer, cost)]
        if outside_s:
            yield env.timeout(outside_s)
        waits_from = env.now
        yield env.all_of(writes)
        moved.stalls.append(stall_s + env.now - waits_from)
        if flow is not None:
            flow.passes_made += 1

    def _compute_s(self, step: Step, number: int, link_s: float) -> float:
        cost, requests = self._cost, len(step.decode_ids)
        if step.chunks:
            compute_s = cost.mixed_pass_s(step.chunks, requests, step.context_tokens)
        else:
            context = step.context_tokens + number * requests
            compute_s = cost.decode_pass_s(requests, context)
        if cost.link_slowdown and compute_s:
            compute_s *= 1 + cost.link_slowdown * min(1.0, link_s / compute_s)
        return compute_s

    def _store(self, step: Step, number: int, moved: _Tally) -> None:
        """Send the pages that this pass filled to the host, in the background."""
        if not self._plane.write_through:
            return
        cost = self._cost
        pages = 0
        for chunk in step.chunks:
            new = cost.new_pages(chunk.start, chunk.tokens)
            pages += (cost.layers - len(chunk.host_layers)) * new
            moved.d2h_bytes += len(chunk.host_layers) * new * cost.page_bytes
        if step.contexts is not None:
            filled = (step.contexts + number) % cost.page_tokens == 0
            pages += cost.layers * int(filled.sum())
        if pages:
            moved.d2h_bytes += pages * cost.page_bytes
            self._env.process(self._write(pages * cost.copy_s(cost.d2h, cost.page_bytes)))

    # -- transfers -----------------------------------------------------------------------------

    def _fetch(self, group: Group) -> Process:
        with self._h2d.request(priority=STREAMING) as turn:
            yield turn
            began = self._env.now
            yield self._env.timeout(group.link_s)
        self._note("H2D", f"layer {group.layer}", began)

    def _write(self, seconds: float) -> Process:
        with self._d2h.request() as turn:
            yield turn
            began = self._env.now
            yield self._env.timeout(seconds)
        self._note("D2H", "store", began)

    def _blocking(self, move: Move) -> Process:
        """Frees wait behind the stores that are queued, the rest for its turn on the way up."""
        cost, layers = self._cost, self._cost.layers
        size = move.pages * cost.page_bytes
        if move.kind in (MoveKind.PARK, MoveKind.DEMOTE):
            yield from self._write(cost.copy_s(cost.d2h, size, layers))
            return
        with self._h2d.request(priority=STREAMING) as turn:
            yield turn
            began = self._env.now
            yield self._env.timeout(cost.copy_s(cost.h2d, size, layers))
        self._note("H2D", str(move.kind), began)

    def _load(self, move: Move) -> Process:
        """A background load, page by page behind whatever streams."""
        size = move.pages * self._cost.page_bytes
        seconds = self._cost.copy_s(self._cost.h2d, size, len(move.layers))
        for _ in range(move.pages):
            with self._h2d.request(priority=LOADING) as turn:
                yield turn
                began = self._env.now
                yield self._env.timeout(seconds / move.pages)
            self._note("H2D", f"load {move.request_id}", began)
        self._loaded.append(move)
        done, self._load_done = self._load_done, self._env.event()
        done.succeed()

    def _note(self, track: str, name: str, began_s: float) -> None:
        if self._span is not None and self._env.now > began_s:
            self._span(Span(track, name, began_s, self._env.now))


class _Tally:
    """What a step moved and how long its passes waited."""

    def __init__(self, cost: CostModel, blocking: list[Move]) -> None:
        self._cost = cost
        self.stalls: list[float] = []
        self.link_s = 0.0
        self.h2d_bytes = self.d2h_bytes = 0
        for move in blocking:
            if move.kind in (MoveKind.PARK, MoveKind.DEMOTE):
                self.d2h_bytes += move.pages * cost.page_bytes
            else:
                self.up(move.pages, cost.layers)

    def up(self, pages: int, runs: int) -> None:
        """Count a move to the GPU."""
        size = pages * self._cost.page_bytes
        self.h2d_bytes += size
        self.link_s += self._cost.copy_s(self._cost.h2d, size, runs)

    def stream(self, groups: dict[int, Group], step: Step, number: int) -> None:
        """Count what a pass streams."""
        self.link_s += sum(group.link_s for group in groups.values())
        behind = [(s.contexts + number, s.layers) for s in step.streams]
        behind += [(np.array([c.start + 1]), c.streamed_layers) for c in step.chunks if c.start]
        for contexts, layers in behind:
            pages = int(self._cost.full_pages(contexts, 1)[0])
            self.h2d_bytes += pages * len(layers) * self._cost.page_bytes


def _later(step: Step, passes: int) -> Step:
    """The step as it is `passes` passes later."""
    streams = tuple(s._replace(contexts=s.contexts + passes) for s in step.streams)
    return step._replace(streams=streams)


def _written(step: Step, layer: int, cost: CostModel) -> list[float]:
    """Seconds of D2H for each chunk whose pages of this layer belong on the host."""
    return [
        cost.copy_s(cost.d2h, new * cost.page_bytes)
        for chunk in step.chunks
        if layer in chunk.host_layers and (new := cost.new_pages(chunk.start, chunk.tokens))
    ]


class LayerSimulation(Server):
    """A simulation whose steps are carried out layer by layer."""

    def __init__(
        self,
        core: Core,
        cost: CostModel,
        data_plane: DataPlane,
        requests: Iterable[Request],
        observer: Observer,
        *,
        planner_latency_s: float = 0.0,
        span: SpanSink | None = None,
    ) -> None:
        super().__init__(core, requests, observer, planner_latency_s)
        self._machine = LayerMachine(self._env, cost, data_plane, span)

    def _carry_out(self, step: Step, stop_at_s: float) -> Performance:
        return self._machine.perform(step, stop_at_s)
