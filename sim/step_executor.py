"""The simulated machine: how long a step takes, from the true profile. Fidelity `step`.

Passes that nothing disturbs are timed all at once: with n requests, pass j costs t_0 + j n token_s,
so the pass ends are a closed form. The ring recursion runs pass by pass only where KV is streamed.
What this fidelity simplifies, in every result:

* the two directions of the link do not disturb each other; stores and write-outs share D2H, first
  come first served;
* background loads use the H2D time that streaming leaves idle (it has priority, page by page);
* prefetching restarts whenever the batch, the residency or the size of the ring changes;
* the link-busy slow-down stretches a pass by its average busy share.
"""

from __future__ import annotations

from collections import OrderedDict
from math import inf
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.engine.engine import LONGEST_STEP
from orbitflow.engine.policy import DataPlane
from orbitflow.machine.cost import CostModel
from orbitflow.machine.pipeline import (
    Overlap,
    RingPipeline,
    TransferDemand,
    barrier_stalls,
    batches_stalls,
    paper_stalls,
    serial_stalls,
)
from orbitflow.sim.pass_work import GpuWork, Noise, gpu_work, streaming_demand
from orbitflow.step import Move, MoveKind, Step, StepOutcome

_NOTHING = np.empty(0)


class _Timing(NamedTuple):
    """Passes of a step, blocking moves left out; every array has shape (passes done,)."""

    compute_s: FloatArray
    spans_s: FloatArray  # compute and stall
    link_s: FloatArray
    h2d_bytes: FloatArray


class _Blocking(NamedTuple):
    """The blocking moves of a step: when they end and what they moved."""

    end_s: float
    up_s: float
    up_bytes: int
    down_bytes: int


class SimExecutor:
    """Times steps. It keeps what outlasts a step: the ring, the store queue, background loads."""

    def __init__(self, cost: CostModel, data_plane: DataPlane, noise: Noise | None = None) -> None:
        self.cost = cost  # may be replaced between two steps
        self._plane = data_plane
        self._noise = noise
        self._passes = 0
        self._ring = RingPipeline()
        self._version: int | None = None
        self._d2h_free_s = 0.0
        self._loads: OrderedDict[int, tuple[float, int]] = (
            OrderedDict()
        )  # id: (seconds left, bytes)
        counts = np.arange(1, LONGEST_STEP + 1, dtype=np.float64)
        self._counts = counts
        self._growth = counts * (counts - 1) / 2

    def execute(self, step: Step, start_s: float, stop_at_s: float) -> StepOutcome:
        """Time a step that starts at `start_s`. It ends at the first pass boundary at or after
        `stop_at_s`.
        """
        links = step.moves or step.streams or self._loads or self._plane.write_through
        links = links or any(c.streamed_layers or c.host_layers for c in step.chunks)
        if not links and self._noise is None:
            return self._undisturbed(step, start_s, stop_at_s)
        outcome = self._general(step, start_s, stop_at_s)
        self._passes += len(outcome.pass_end_s)
        return outcome

    # -- the fast path: everything resident, nothing to store or move --------------------

    def _undisturbed(self, step: Step, start_s: float, stop_at_s: float) -> StepOutcome:
        requests = len(step.decode_ids)
        if step.chunks:
            end_s = start_s + self.cost.mixed_pass_s(step.chunks, requests, step.context_tokens)
            return StepOutcome(start_s, np.array([end_s]), 0.0, 0.0, 0, 0, (), end_s)
        first_s = self.cost.decode_pass_s(requests, step.context_tokens)
        grow_s = self.cost.context_s * requests
        ends = start_s + self._counts[: step.passes] * first_s
        if grow_s:
            ends += self._growth[: step.passes] * grow_s
        if stop_at_s < ends[-1]:
            ends = ends[: int(ends.searchsorted(stop_at_s)) + 1]
        return StepOutcome(start_s, ends, 0.0, 0.0, 0, 0, (), float(ends[-1]))

    # -- everything else ----------------------------------------------------------------------

    def _general(self, step: Step, start_s: float, stop_at_s: float) -> StepOutcome:
        blocking = self._blocking(step.moves, start_s)
        begin_s = blocking.end_s
        done = [m.id for m in step.moves if m.blocking]
        self._queue_loads(step.moves)
        if not step.passes:
            return self._transfer_only(start_s, blocking, done)
        promoted = [m.id for m in step.moves if m.kind is MoveKind.PROMOTE]
        before = (self._ring.copy(), self._version) if self._loads else None
        timing = self._time(step, begin_s, 1 if promoted else step.passes, stop_at_s)
        passes, loaded, loaded_bytes = self._advance_loads(timing.spans_s - timing.link_s)
        if before is not None and passes < len(timing.spans_s):
            self._ring, self._version = before  # a load ended: the later passes never were
            timing = self._time(step, begin_s, passes, inf)
        spans = timing.spans_s
        stall = spans - timing.compute_s
        if step.chunks:
            late = self._write_out(step, begin_s) - spans[0]
            if late > 0:
                spans[0] += late
                stall[0] += late
        ends = begin_s + np.cumsum(spans)
        end_s = float(ends[-1])
        stall[0] += begin_s - start_s
        loaded_s = self.cost.copy_s(self.cost.h2d, loaded_bytes)
        return StepOutcome(
            start_s,
            ends,
            float(stall.sum()),
            float(timing.link_s.sum()) + blocking.up_s + loaded_s,
            int(timing.h2d_bytes.sum()) + blocking.up_bytes + loaded_bytes,
            self._store(step, ends) + blocking.down_bytes,
            (*done, *promoted, *loaded),
            end_s,
            stall,
        )

    def _blocking(self, moves: tuple[Move, ...], now_s: float) -> _Blocking:
        """Carry out the blocking moves."""
        cost, page, layers = self.cost, self.cost.page_bytes, self.cost.layers
        up_s, up_bytes, down_bytes, frees = 0.0, 0, 0, False
        for move in moves:
            if not move.blocking:
                continue
            size = move.pages * page
            if move.kind in (MoveKind.PAUSE, MoveKind.DEMOTE):
                frees = True
                down_bytes += size
                drained = max(self._d2h_free_s, now_s)
                self._d2h_free_s = drained + cost.copy_s(cost.d2h, size, layers)
            else:
                up_bytes += size
                up_s += cost.copy_s(cost.h2d, size, layers)
        stored_s = max(self._d2h_free_s, now_s) if frees else now_s
        return _Blocking(max(now_s + up_s, stored_s), up_s, up_bytes, down_bytes)

    def _transfer_only(self, start_s: float, blocking: _Blocking, done: list[int]) -> StepOutcome:
        """A step without passes: until its moves, or else the next load, are done."""
        end_s, up_s, up_bytes = blocking.end_s, blocking.up_s, blocking.up_bytes
        if not done and self._loads:
            move_id, (left_s, size) = self._loads.popitem(last=False)
            end_s, up_s, up_bytes = end_s + left_s, left_s, size
            done = [move_id]
        return StepOutcome(
            start_s, _NOTHING, 0.0, up_s, up_bytes, blocking.down_bytes, tuple(done), end_s
        )

    def _time(self, step: Step, begin_s: float, passes: int, stop_at_s: float) -> _Timing:
        """Time the passes up to the first boundary at or after `stop_at_s`."""
        cost = self.cost
        work = gpu_work(cost, self._plane, step, passes)
        if self._noise is not None:
            work = work.slowed(self._noise.factors(self._passes, passes))
        demand, h2d_bytes = streaming_demand(cost, step, passes, self._plane.host_read)
        if demand is None:
            self._version = None
            link_s = h2d_bytes
            spans = work.total_s.copy()
        else:
            link_s = demand.link_s.sum(axis=1)
            if cost.link_slowdown:
                busy = np.minimum(1.0, link_s / work.total_s)
                work = work.slowed(1 + cost.link_slowdown * busy)
            stall = self._stall(step, demand, work, begin_s, stop_at_s)
            spans = work.total_s[: len(stall)] + stall
        done = min(len(spans), int((begin_s + np.cumsum(spans)).searchsorted(stop_at_s)) + 1)
        return _Timing(work.total_s[:done], spans[:done], link_s[:done], h2d_bytes[:done])

    def _stall(
        self,
        step: Step,
        demand: TransferDemand,
        work: GpuWork,
        begin_s: float,
        stop_at_s: float,
    ) -> FloatArray:
        layer_s = work.layer_s(self.cost.layers)
        overlap = self._plane.overlap
        if overlap is Overlap.SERIAL:
            return serial_stalls(demand)
        if overlap is Overlap.PAPER:
            return paper_stalls(demand, layer_s)
        if overlap is Overlap.BARRIER:
            return barrier_stalls(demand, layer_s, work.outside_s, work.beside)
        if overlap is Overlap.BATCHES:
            return batches_stalls(demand, layer_s, work.beside)
        ring_bytes = float(step.ring_pages * self.cost.page_bytes)
        if step.version != self._version or ring_bytes != self._ring.ring_bytes:
            self._ring.restart(begin_s, ring_bytes)
            self._version = step.version
        return self._ring.stalls(demand, layer_s, work.total_s, begin_s, stop_at_s)

    def _write_out(self, step: Step, begin_s: float) -> float:
        """Seconds until the host layers' pages of this pass's chunks are written out."""
        pages = sum(
            len(c.host_layers) * self.cost.new_pages(c.start, c.tokens) for c in step.chunks
        )
        if not pages:
            return 0.0
        cost, runs = self.cost, sum(len(c.host_layers) for c in step.chunks)
        start = max(self._d2h_free_s, begin_s)
        self._d2h_free_s = start + cost.copy_s(cost.d2h, pages * cost.page_bytes, runs)
        return self._d2h_free_s - begin_s

    def _store(self, step: Step, end_s: FloatArray) -> int:
        """Queue the stores of pages as they fill; return all bytes the step sends to the host."""
        if not self._plane.write_through:
            return 0
        cost, written_out = self.cost, 0
        pages = np.zeros(len(end_s))
        for chunk in step.chunks:
            new = self.cost.new_pages(chunk.start, chunk.tokens)
            written_out += len(chunk.host_layers) * new
            pages[0] += (cost.layers - len(chunk.host_layers)) * new
        if step.contexts is not None:
            pages += cost.layers * self._filled(step.contexts, len(end_s))
        # A page waits for its pass and for the pages before it: a running maximum.
        store_s = np.cumsum(pages * cost.copy_s(cost.d2h, cost.page_bytes))
        if store_s[-1]:
            waits = np.where(pages > 0, end_s - np.append(0.0, store_s[:-1]), self._d2h_free_s)
            self._d2h_free_s = max(self._d2h_free_s, float(waits.max())) + float(store_s[-1])
        return (int(pages.sum()) + written_out) * cost.page_bytes

    def _filled(self, contexts: IntArray, passes: int) -> IntArray:
        """Pages of one layer that become full in each of the next passes, shape (passes,)."""
        page = self.cost.page_tokens
        left = page - 1 - (contexts - 1) % page  # passes before the one that fills the page
        filled: IntArray = np.bincount(left, minlength=page)[np.arange(passes) % page]
        return filled

    def _queue_loads(self, moves: tuple[Move, ...]) -> None:
        for move in moves:
            if move.kind is MoveKind.LOAD and not move.blocking:
                size = move.pages * self.cost.page_bytes
                seconds = self.cost.copy_s(self.cost.h2d, size, len(move.layers))
                self._loads[move.id] = (seconds, size)

    def _advance_loads(self, idle_s: FloatArray) -> tuple[int, list[int], int]:
        """Spend idle link time on background loads, up to the pass that finishes one.

        Return the passes made, the finished moves and their bytes.
        """
        done: list[int] = []
        moved = 0
        for index, idle in enumerate(idle_s.tolist()) if self._loads else ():
            while self._loads and idle > 0:
                move_id, (left, size) = next(iter(self._loads.items()))
                if left > idle:
                    self._loads[move_id] = (left - idle, size)
                    break
                idle -= left
                del self._loads[move_id]
                done.append(move_id)
                moved += size
            if done:
                return index + 1, done, moved
        return len(idle_s), done, moved
