"""The simulated machine: how long a step takes, from the true profile. Fidelity `step`.

Passes that nothing disturbs are timed all at once: with n requests, pass j costs t_0 + j n token_s,
so the pass ends are a closed form; only where KV is streamed does the ring recursion run pass by
pass. Simplified, and so in every result of this fidelity:

* the two directions of the link do not disturb each other; stores and write-outs share D2H, first
  come first served;
* background loads use the H2D time that streaming leaves idle (it has priority, page by page);
* prefetching starts afresh whenever the batch or the residency changes;
* the link-busy slow-down stretches a pass by its average busy share.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import numpy as np

from orbitflow.clock import FloatArray
from orbitflow.cost import CostModel
from orbitflow.pipeline import Demand, Overlap, RingPipeline, paper_stalls, serial_stalls
from orbitflow.policy.base import DataPlane
from orbitflow.serving import LONGEST_STEP
from orbitflow.step import IntArray, Move, MoveKind, Step, StepOutcome, Stream

_NOTHING = np.empty(0)


class _Timing(NamedTuple):
    """Passes of a step, blocking moves left out."""

    compute_s: FloatArray
    stall_s: FloatArray
    link_s: FloatArray
    h2d_bytes: FloatArray


class SimExecutor:
    """Times steps. It keeps what outlasts a step: the ring, the store queue, background loads."""

    def __init__(self, cost: CostModel, data_plane: DataPlane) -> None:
        self._cost = cost
        self._plane = data_plane
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
        """Time a step that starts now; end it early at the first pass boundary at or after
        `stop_at_s`.
        """
        if not (
            step.moves or step.streams or step.chunks or self._loads or self._plane.write_through
        ):
            return self._undisturbed(step, start_s, stop_at_s)
        return self._general(step, start_s, stop_at_s)

    # -- the fast path: decode only, everything resident, nothing to store --------------------

    def _undisturbed(self, step: Step, start_s: float, stop_at_s: float) -> StepOutcome:
        requests = len(step.decode_ids)
        first_s = self._cost.decode_pass_s(requests, step.context_tokens)
        grow_s = self._cost.decode.token_s * requests
        ends = start_s + self._counts[: step.passes] * first_s
        if grow_s:
            ends += self._growth[: step.passes] * grow_s
        if stop_at_s < ends[-1]:
            ends = ends[: int(ends.searchsorted(stop_at_s)) + 1]
        return StepOutcome(start_s, ends, 0.0, 0.0, 0, 0, (), float(ends[-1]))

    # -- everything else ----------------------------------------------------------------------

    def _general(self, step: Step, start_s: float, stop_at_s: float) -> StepOutcome:
        begin_s, blocking_s, blocking_bytes, stored_bytes = self._blocking(step.moves, start_s)
        done = [m.id for m in step.moves if m.blocking]
        self._queue_loads(step.moves)
        if not step.passes:
            return self._transfer_only(
                step, start_s, begin_s, blocking_s, blocking_bytes, stored_bytes, done
            )
        promotions = [m.id for m in step.moves if m.kind is MoveKind.PROMOTE]
        passes = 1 if promotions else step.passes
        timing = self._time(step, begin_s, passes)
        spans = timing.compute_s + timing.stall_s
        if step.chunks:
            spans[0] = max(spans[0], self._write_out(step, begin_s))
        ends = begin_s + np.cumsum(spans)
        if stop_at_s < ends[-1]:
            passes = int(ends.searchsorted(stop_at_s)) + 1
        passes, loaded, loaded_bytes = self._advance_loads(spans[:passes] - timing.link_s[:passes])
        ends = ends[:passes]
        stored_bytes += self._store(step, passes, float(ends[-1]))
        stall = spans[:passes] - timing.compute_s[:passes]
        stall[0] += begin_s - start_s
        return StepOutcome(
            start_s,
            ends,
            float(stall.sum()),
            float(timing.link_s[:passes].sum())
            + blocking_s
            + self._cost.copy_s(self._cost.h2d, loaded_bytes),
            int(timing.h2d_bytes[:passes].sum()) + blocking_bytes + loaded_bytes,
            stored_bytes,
            (*done, *promotions, *loaded),
            float(ends[-1]),
            stall,
        )

    def _blocking(self, moves: tuple[Move, ...], now_s: float) -> tuple[float, float, int, int]:
        """When blocking moves are over; H2D seconds and bytes, and D2H bytes, that they take."""
        page, layers = self._cost.page_bytes, self._cost.layers
        up_s, up_bytes, down_bytes, waits = 0.0, 0, 0, False
        for move in moves:
            if not move.blocking:
                continue
            if move.kind in (MoveKind.PARK, MoveKind.DEMOTE):
                waits = True
                down_bytes += move.pages * page
                drained = max(self._d2h_free_s, now_s)
                self._d2h_free_s = drained + self._cost.copy_s(
                    self._cost.d2h, move.pages * page, layers
                )
            else:
                up_bytes += move.pages * page
                up_s += self._cost.copy_s(self._cost.h2d, move.pages * page, layers)
        down_until = max(self._d2h_free_s, now_s) if waits else now_s
        return max(now_s + up_s, down_until), up_s, up_bytes, down_bytes

    def _transfer_only(
        self,
        step: Step,
        start_s: float,
        begin_s: float,
        blocking_s: float,
        h2d_bytes: int,
        d2h_bytes: int,
        done: list[int],
    ) -> StepOutcome:
        """A step without passes: until its moves, or else the next load, are done."""
        end_s = begin_s
        if not done and self._loads:
            move_id, (left_s, size) = self._loads.popitem(last=False)
            end_s, blocking_s = begin_s + left_s, left_s
            h2d_bytes += size
            done = [move_id]
        return StepOutcome(
            start_s, _NOTHING, 0.0, blocking_s, h2d_bytes, d2h_bytes, tuple(done), end_s
        )

    def _time(self, step: Step, begin_s: float, passes: int) -> _Timing:
        cost, requests = self._cost, len(step.decode_ids)
        if step.chunks:
            compute = np.array([cost.mixed_pass_s(step.chunks, requests, step.context_tokens)])
        else:
            first_s = cost.decode_pass_s(requests, step.context_tokens)
            compute = first_s + (self._counts[:passes] - 1) * (cost.decode.token_s * requests)
        demand, link_bytes = self._demand(step, passes)
        if demand is None:
            zeros = np.zeros(passes)
            self._version = None
            return _Timing(compute, zeros, zeros, zeros)
        link_s = demand.link_s.sum(axis=1)
        if cost.link_slowdown:
            compute = compute * (1 + cost.link_slowdown * np.minimum(1.0, link_s / compute))
        layer_s = (compute - cost.decode.outside_s) / cost.layers
        stall = self._stall(step, demand, layer_s, compute, begin_s)
        return _Timing(compute, stall, link_s, link_bytes)

    def _stall(
        self,
        step: Step,
        demand: Demand,
        layer_s: FloatArray,
        compute_s: FloatArray,
        begin_s: float,
    ) -> FloatArray:
        if self._plane.overlap is Overlap.SERIAL:
            return serial_stalls(demand)
        if self._plane.overlap is Overlap.PAPER:
            return paper_stalls(demand, layer_s)
        ring_bytes = float(step.ring_pages * self._cost.page_bytes)
        if step.version != self._version or step.moves:
            self._ring.restart(begin_s, ring_bytes)
            self._version = step.version
        else:
            self._ring.resize(ring_bytes)
        return self._ring.stalls(demand, layer_s, compute_s, begin_s)

    def _demand(self, step: Step, passes: int) -> tuple[Demand | None, FloatArray]:
        """What crosses the link in each pass: decode streams, and prompts behind their chunks."""
        streams = list(step.streams)
        for chunk in step.chunks:
            if chunk.start and chunk.streamed_layers:
                behind = np.array([chunk.start + 1])
                streams.append(Stream(chunk.streamed_layers, chunk.host_layers, behind))
        if not streams:
            return None, _NOTHING
        layers = tuple(sorted({layer for stream in streams for layer in stream.layers}))
        row = {layer: index for index, layer in enumerate(layers)}
        link_s, ring = np.zeros((passes, len(layers))), np.zeros((passes, len(layers)))
        total = np.zeros(passes)
        for stream in streams:
            seconds, size = self._cost.stream_s(stream.contexts, passes)
            link_s[:, [row[layer] for layer in stream.layers]] += seconds[:, None]
            staged = [row[layer] for layer in stream.staged if layer in row]
            ring[:, staged] += size[:, None]
            total += size * len(stream.layers)
        return Demand(layers, link_s, ring), total

    def _write_out(self, step: Step, begin_s: float) -> float:
        """Seconds until the host layers' pages of this pass's chunks are written out."""
        pages = sum(len(c.host_layers) * self._new_pages(c.start, c.tokens) for c in step.chunks)
        if not pages:
            return 0.0
        cost, runs = self._cost, sum(len(c.host_layers) for c in step.chunks)
        start = max(self._d2h_free_s, begin_s)
        self._d2h_free_s = start + cost.copy_s(cost.d2h, pages * cost.page_bytes, runs)
        return self._d2h_free_s - begin_s

    def _store(self, step: Step, passes: int, end_s: float) -> int:
        """Queue the stores of full pages; return all bytes that the step sends to the host."""
        if not self._plane.write_through:
            return 0
        cost = self._cost
        background = 0
        written_out = 0
        for chunk in step.chunks:
            new = self._new_pages(chunk.start, chunk.tokens)
            written_out += len(chunk.host_layers) * new
            background += (cost.layers - len(chunk.host_layers)) * new
        if step.contexts is not None:
            background += cost.layers * self._filled(step.contexts, passes)
        if background:
            start = max(self._d2h_free_s, end_s)
            self._d2h_free_s = start + cost.copy_s(
                cost.d2h, background * cost.page_bytes, background
            )
        return (background + written_out) * cost.page_bytes

    def _new_pages(self, start: int, tokens: int) -> int:
        return (start + tokens) // self._cost.page_tokens - start // self._cost.page_tokens

    def _filled(self, contexts: IntArray, passes: int) -> int:
        """Pages of one layer that become full in the next passes."""
        page = self._cost.page_tokens
        return int(((contexts - 1 + passes) // page - (contexts - 1) // page).sum())

    def _queue_loads(self, moves: tuple[Move, ...]) -> None:
        for move in moves:
            if move.kind is MoveKind.LOAD and not move.blocking:
                size = move.pages * self._cost.page_bytes
                seconds = self._cost.copy_s(self._cost.h2d, size, len(move.layers))
                self._loads[move.id] = (seconds, size)

    def _advance_loads(self, idle_s: FloatArray) -> tuple[int, list[int], int]:
        """Spend idle link time on background loads; stop after the pass that finishes one.

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
