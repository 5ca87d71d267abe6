"""Times a step one pass at a time, token by token, from the design and the executor's docstring.

Nothing is kept but lists: all passes since prefetching last began afresh are simulated again for
every new one, with the event simulation of `reference.pipeline`.
"""

from __future__ import annotations

import numpy as np
from strategies import Machine

from orbitflow.engine.policy import DataPlane
from orbitflow.machine.pipeline import Overlap
from orbitflow.machine.profile import LinkFit
from orbitflow.sim.server import StepExecutor
from orbitflow.step import Move, MoveKind, Step, StepOutcome
from reference.lines import lines
from reference.pipeline import Group, Pass, simulate


class SlowExecutor:
    """One pass, then it stops."""

    def __init__(self, machine: Machine, plane: DataPlane) -> None:
        self.cost = machine.cost
        self.plane = plane
        self.passes: list[Pass] = []  # since prefetching began afresh
        self.fresh_s = 0.0
        self.version: int | None = None
        self.d2h_free_s = 0.0
        self.loads: list[tuple[Move, float]] = []  # and the seconds left

    def execute(self, step: Step, start_s: float, stop_at_s: float) -> StepOutcome:
        cost = self.cost
        begin_s, done = start_s, []
        up_s, waits, h2d, d2h = 0.0, False, 0, 0
        for move in step.moves:
            size = move.pages * cost.page_bytes
            if move.blocking:
                done.append(move.id)
                if move.kind in (MoveKind.PAUSE, MoveKind.DEMOTE):
                    self.d2h_free_s = max(self.d2h_free_s, start_s)
                    self.d2h_free_s += self.copy(cost.d2h, size, cost.layers)
                    waits, d2h = True, d2h + size
                else:
                    up_s, h2d = up_s + self.copy(cost.h2d, size, cost.layers), h2d + size
            elif move.kind is MoveKind.LOAD:
                self.loads.append((move, self.copy(cost.h2d, size, len(move.layers))))
        begin_s = max(start_s + up_s, self.d2h_free_s if waits else start_s)
        if not step.passes:
            end_s, busy_s = begin_s, up_s
            if not done and self.loads:
                move, left_s = self.loads.pop(0)
                end_s, busy_s, done = begin_s + left_s, left_s, [move.id]
                h2d += move.pages * cost.page_bytes
            return StepOutcome(start_s, np.empty(0), 0.0, busy_s, h2d, d2h, tuple(done), end_s)
        groups, streamed = self.groups(step)
        h2d += streamed
        link_s = sum(group.link_s for group in groups)
        compute_s = self.compute(step)
        if groups:
            compute_s *= 1 + cost.link_slowdown * min(1.0, link_s / compute_s)
        span_s = compute_s + self.stall(step, groups, compute_s, begin_s)
        written = 0
        runs = 0
        for chunk in step.chunks:
            written += len(chunk.host_layers) * self.new_pages(chunk.start, chunk.tokens)
            runs += len(chunk.host_layers)
        if written:
            self.d2h_free_s = max(self.d2h_free_s, begin_s)
            self.d2h_free_s += self.copy(cost.d2h, written * cost.page_bytes, runs)
            span_s = max(span_s, self.d2h_free_s - begin_s)
        end_s = begin_s + span_s
        d2h += self.store(step, end_s) + written * cost.page_bytes
        idle_s, loaded = span_s - link_s, []
        while self.loads and idle_s > 0:
            move, left_s = self.loads.pop(0)
            if left_s > idle_s:
                self.loads.insert(0, (move, left_s - idle_s))
                break
            idle_s -= left_s
            loaded.append(move.id)
            h2d += move.pages * cost.page_bytes
        promoted = [m.id for m in step.moves if m.kind is MoveKind.PROMOTE]
        stall_s = end_s - start_s - compute_s
        return StepOutcome(
            start_s,
            np.array([end_s]),
            stall_s,
            link_s + up_s,
            h2d,
            d2h,
            (*done, *promoted, *loaded),
            end_s,
            np.array([stall_s]),
        )

    def copy(self, link: LinkFit, size: int, runs: int) -> float:
        """Only flat links here: `test_cost` looks at the curve."""
        assert len(link.bytes_per_s) == 1
        return runs * link.latency_s + size / link.bytes_per_s[0] if size else 0.0

    def compute(self, step: Step) -> float:
        """Compute time of the step's first pass."""
        hosted, others = self.batches(step)
        return hosted + others

    def batches(self, step: Step) -> tuple[float, float]:
        """Compute time of the sub-batch whose KV is on the host, if it is one, and of the rest."""
        decode, prefill = lines(self.cost).decode, lines(self.cost).prefill
        hosted, requests = 0, len(step.decode_ids)
        if self.plane.overlap is Overlap.BATCHES:
            hosted = sum(len(stream.contexts) for stream in step.streams if stream.staged)
        hosted_s = decode.base_s + decode.request_s * hosted if hosted else 0.0
        rest = requests - hosted
        seconds = prefill.base_s
        if rest:
            seconds = decode.base_s + decode.request_s * rest
            seconds += self.attention(step)
        elif hosted and not step.chunks:
            return 0.0, hosted_s  # nobody to run beside
        for chunk in step.chunks:
            seconds += prefill.token_s * chunk.tokens
            seconds += prefill.pair_s * chunk.tokens * (chunk.start + chunk.tokens / 2)
        return hosted_s, seconds

    def attention(self, step: Step) -> float:
        """GPU time of decode attention: layer by layer, what the GPU reads of every context."""
        seconds = 0.0
        for layer in range(self.cost.layers):
            tokens = float(step.context_tokens)
            for stream in step.streams:
                if layer in stream.staged:
                    tokens -= (1 - self.read_share(layer)) * int(stream.contexts.sum())
            seconds += lines(self.cost).decode.token_s * tokens / self.cost.layers
        return seconds

    def read_share(self, layer: int) -> float:
        """Share of a host token's KV that the GPU reads in a layer."""
        read = self.plane.host_read
        if read.attends:
            return 0.0
        if read.fetched_share < 1 and layer >= read.whole_layers:
            return read.fetched_share + read.kept_share
        return 1.0

    def host_s(self, step: Step, layer: int) -> float:
        """CPU time on the KV of one layer in the step's first pass."""
        host, read, cost = self.cost.host, self.plane.host_read, self.cost
        size, requests = 0, 0
        for stream in step.streams:
            if layer in stream.staged:
                for context in stream.contexts.tolist():
                    size += (context - 1) // cost.page_tokens * cost.page_bytes
                    requests += 1
        if not requests or self.read_share(layer) == 1:
            return 0.0
        assert host is not None
        if not read.attends:
            return int(size * read.fetched_share) / host.gather_bytes_per_s
        trip = requests * cost.query_bytes
        both_ways_s = self.copy(cost.d2h, trip, 1) + self.copy(cost.h2d, trip, 1)
        return size / host.attention_bytes_per_s + both_ways_s

    def groups(self, step: Step) -> tuple[tuple[Group, ...], int]:
        """What the first pass streams, layer by layer, and all its bytes."""
        link = self.cost.h2d
        groups, total = [], 0
        for layer in range(self.cost.layers):
            seconds, staged, is_there = 0.0, 0, False
            behind: list[tuple[int, bool]] = []  # tokens, whether they go through the ring
            for stream in step.streams:
                if layer in stream.layers:
                    is_there = True
                    if layer not in stream.staged or self.read_share(layer) == 1:
                        at = stream.contexts.tolist()
                        behind += [(c - 1, layer in stream.staged) for c in at]
                    elif not self.plane.host_read.attends:
                        share, size, some_s = self.plane.host_read.fetched_share, 0, 0.0
                        for context in stream.contexts.tolist():
                            whole = (context - 1) // self.cost.page_tokens * self.cost.page_bytes
                            size += whole
                            some_s += link.latency_s if whole else 0.0
                        fetched = int(size * share)
                        seconds += some_s + fetched / link.bytes_per_s[0]
                        total += fetched
            for chunk in step.chunks:
                if chunk.start and layer in chunk.streamed_layers:
                    is_there = True
                    behind.append((chunk.start, layer in chunk.host_layers))
            for tokens, in_ring in behind:
                size = tokens // self.cost.page_tokens * self.cost.page_bytes
                seconds += self.copy(link, size, 1)
                staged += size if in_ring else 0
                total += size
            if is_there:
                groups.append(Group(layer, seconds, float(staged)))
        return tuple(groups), total

    def stall(
        self, step: Step, groups: tuple[Group, ...], compute_s: float, begin_s: float
    ) -> float:
        """How long compute waits for the link in this pass."""
        if not groups:
            self.version = None
            return 0.0
        layers, outside_s = self.cost.layers, lines(self.cost).decode.outside_s
        host_s = [self.host_s(step, layer) for layer in range(layers)]
        link_s = sum(group.link_s for group in groups)
        if self.plane.overlap is Overlap.SERIAL:
            return link_s + sum(host_s)
        hosted_s, rest_s = self.batches(step)
        if self.plane.overlap is Overlap.BATCHES:
            slower = compute_s / (hosted_s + rest_s)
            outside_s += min(outside_s, rest_s) if hosted_s else 0.0
            layer_s = (compute_s - outside_s) / layers
            part = 0.0
            if hosted_s:
                rest_inside = rest_s - min(lines(self.cost).decode.outside_s, rest_s)
                part = rest_inside / (compute_s / slower - outside_s)
            return link_s + sum(max(0.0, a - layer_s * part) for a in host_s)
        layer_s = (compute_s - outside_s) / layers
        if self.plane.overlap is Overlap.BARRIER:
            attends = self.attention(step) if step.decode_ids else 0.0
            part = 1 - attends / (rest_s - outside_s)
            stall_s = 0.0
            for group in groups:
                window = outside_s if group.layer == 0 else layer_s
                if group.layer and host_s[group.layer]:
                    window = layer_s * part
                stall_s += host_s[group.layer] + max(0.0, group.link_s - window)
            return stall_s
        if self.plane.overlap is Overlap.PAPER:
            now, arrived = 0.0, 0.0
            by_layer = {group.layer: group.link_s for group in groups}
            for layer in range(layers):
                if layer in by_layer:
                    arrived += by_layer[layer]
                    now = max(now, arrived)
                now += layer_s
            return now - layers * layer_s
        ring = float(step.ring_pages * self.cost.page_bytes)
        is_new_ring = bool(self.passes) and self.passes[-1].ring_bytes != ring
        if step.version != self.version or step.moves or is_new_ring:
            self.passes, self.fresh_s, self.version = [], begin_s, step.version
        self.passes.append(Pass(groups, layer_s, compute_s, ring, begin_s))
        last = simulate(self.passes, layers, self.fresh_s)[-1]
        return last.end_s - last.start_s - compute_s

    def store(self, step: Step, end_s: float) -> int:
        """Queue the stores of pages that became full and are not on the host yet."""
        if not self.plane.write_through:
            return 0
        cost, pages = self.cost, 0
        for chunk in step.chunks:
            resident = cost.layers - len(chunk.host_layers)
            pages += resident * self.new_pages(chunk.start, chunk.tokens)
        if step.contexts is not None:
            for context in step.contexts.tolist():
                pages += cost.layers * self.new_pages(context - 1, 1)
        if pages:
            self.d2h_free_s = max(self.d2h_free_s, end_s)
            self.d2h_free_s += self.copy(cost.d2h, pages * cost.page_bytes, pages)
        return pages * cost.page_bytes

    def new_pages(self, start: int, tokens: int) -> int:
        """Pages of one layer that tokens [start, start + tokens) fill."""
        page = self.cost.page_tokens
        return sum((at + 1) % page == 0 for at in range(start, start + tokens))


def slow(machine: Machine, plane: DataPlane) -> StepExecutor:
    """The reference executor."""
    return SlowExecutor(machine, plane)
