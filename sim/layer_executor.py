"""Fidelity `layer`: every layer's compute and every transfer is an event, each link direction a
resource.

It is the reference for fidelity `step` and the source of timelines. While the link carries only
decode streaming, the two agree to rounding. Where the link is shared they differ, within bounds
that the tests measure: here a prompt's layers are written out one by one as they are computed,
loads take whole pages of link time, and a chunk beside the decode restarts prefetching.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import simpy

from orbitflow.engine.policy import DataPlane
from orbitflow.machine.cost import CostModel
from orbitflow.machine.pipeline import Overlap
from orbitflow.request import Request
from orbitflow.results.timeline import SpanSink
from orbitflow.sim.layer_pass import LayerPass, StepCounters
from orbitflow.sim.link import LOADING, Flow, Links
from orbitflow.sim.pass_work import Noise
from orbitflow.sim.server import Performance, Process, Server
from orbitflow.step import Core, Move, MoveKind, Observer, Step, StepOutcome


class LayerMachine:
    """Carries steps out in simulated time. It keeps what outlasts a step: links, flow, loads."""

    def __init__(
        self,
        env: simpy.Environment,
        cost: CostModel,
        data_plane: DataPlane,
        span: SpanSink | None = None,
        noise: Noise | None = None,
    ) -> None:
        self._env = env
        self._cost = cost
        self._plane = data_plane
        self._noise = noise
        self._passes = 0
        self._links = Links(env, span)
        self._flow: Flow | None = None
        self._flow_key: tuple[int, int] | None = None  # (version, ring pages)
        self._loaded: list[Move] = []
        self._load_done = env.event()

    def perform(self, step: Step, stop_at_s: float) -> Performance:
        """Do a step that starts now. It ends at the first pass boundary at or after `stop_at_s`."""
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
        counters = StepCounters(self._cost, blocking)
        begin_s = env.now
        if self._flow is None and step.passes and self._plane.overlap is Overlap.RING:
            ring_bytes = float(step.ring_pages * self._cost.page_bytes)
            passes = 1 if step.chunks else None
            self._flow = Flow(self._links, self._cost, step, ring_bytes, passes)
            self._flow_key = key
        ends: list[float] = []
        for number in range(1 if promoted else step.passes):
            slowed = None if self._noise is None else self._noise.factors(self._passes, 1)
            self._passes += 1
            one = LayerPass(self._links, self._cost, self._plane, step, number, slowed)
            yield from one.perform(self._flow, counters)
            ends.append(env.now)
            self._store(step, number, counters)
            if env.now >= stop_at_s or self._loaded:
                break
        for move in self._loaded:
            counters.up(move.pages, len(move.layers))
        done += [*promoted, *(m.id for m in self._loaded)]
        self._loaded = []
        if step.chunks:
            self._drop_flow()
        stall = np.array(counters.stalls)
        if len(stall):
            stall[0] += begin_s - start_s
        return StepOutcome(
            start_s,
            np.array(ends),
            float(stall.sum()),
            counters.link_s,
            counters.h2d_bytes,
            counters.d2h_bytes,
            tuple(done),
            env.now,
            stall,
        )

    def _drop_flow(self) -> None:
        if self._flow is not None:
            self._flow.stop()
        self._flow = self._flow_key = None

    def _store(self, step: Step, number: int, counters: StepCounters) -> None:
        """Send the pages that this pass filled to the host, in the background."""
        if not self._plane.write_through:
            return
        cost = self._cost
        pages = 0
        for chunk in step.chunks:
            new = cost.new_pages(chunk.start, chunk.tokens)
            pages += (cost.layers - len(chunk.host_layers)) * new
            counters.d2h_bytes += len(chunk.host_layers) * new * cost.page_bytes
        if step.contexts is not None:
            filled = (step.contexts + number) % cost.page_tokens == 0
            pages += cost.layers * int(filled.sum())
        if pages:
            counters.d2h_bytes += pages * cost.page_bytes
            seconds = pages * cost.copy_s(cost.d2h, cost.page_bytes)
            self._env.process(self._links.down(seconds))

    # -- transfers -----------------------------------------------------------------------------

    def _blocking(self, move: Move) -> Process:
        """Moves that free memory wait behind the queued stores, others for their turn on H2D."""
        cost = self._cost
        size = move.pages * cost.page_bytes
        if move.kind in (MoveKind.PAUSE, MoveKind.DEMOTE):
            yield from self._links.down(cost.copy_s(cost.d2h, size, cost.layers))
        else:
            yield from self._links.up(cost.copy_s(cost.h2d, size, cost.layers), str(move.kind))

    def _load(self, move: Move) -> Process:
        """A background load, page by page. Streaming goes first."""
        size = move.pages * self._cost.page_bytes
        seconds = self._cost.copy_s(self._cost.h2d, size, len(move.layers))
        for _ in range(move.pages):
            yield from self._links.up(seconds / move.pages, f"load {move.request_id}", LOADING)
        self._loaded.append(move)
        done, self._load_done = self._load_done, self._env.event()
        done.succeed()


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
        noise: Noise | None = None,
    ) -> None:
        super().__init__(core, requests, observer, planner_latency_s)
        self._machine = LayerMachine(self._env, cost, data_plane, span, noise)

    def _carry_out(self, step: Step, stop_at_s: float) -> Performance:
        return self._machine.perform(step, stop_at_s)
