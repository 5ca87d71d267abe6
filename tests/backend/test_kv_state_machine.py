"""Any order of admitting, growing, demoting, promoting, parking, loading, resuming, finishing.

Every read is compared with a plain copy of all KV, in every link mode, with freed pages poisoned,
while copies move and compute catches up at random moments.
"""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the backend needs torch")

import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from reference.kv_machine import LAYERS, PAGE_TOKENS, Bench
from reference.stepped_channel import LinkMode

from orbitflow.backend.kv.pages import Use
from orbitflow.machine.pipeline import Overlap
from orbitflow.step import Move, MoveKind

torch.set_num_threads(1)
ALL = tuple(range(LAYERS))
MOST_TOKENS = 70
layer_sets = st.sets(st.sampled_from(ALL)).map(lambda layers: tuple(sorted(layers)))


class KvLife(RuleBasedStateMachine):
    """Requests are numbered; up to three are here at a time."""

    @initialize(
        mode=st.sampled_from([LinkMode.LATE, LinkMode.EARLY]),
        lagging=st.booleans(),
        overlap=st.sampled_from([Overlap.RING, Overlap.SERIAL, Overlap.BARRIER, Overlap.PAPER]),
    )
    def start(self, mode: LinkMode, lagging: bool, overlap: Overlap) -> None:
        self.bench = Bench(mode, lagging=lagging, overlap=overlap)
        self.next_id = 0
        self.loading: dict[int, Move] = {}
        self.steps = 0

    def pick(self, index: int, *, paused: bool) -> int | None:
        ids = [i for i, r in self.bench.requests.items() if r.paused is paused]
        return ids[index % len(ids)] if ids else None

    @property
    def running(self) -> list[int]:
        return [
            i
            for i, r in self.bench.requests.items()
            if not r.paused and 0 < r.tokens < MOST_TOKENS - 8
        ]

    def settle(self, done: tuple[int, ...]) -> None:
        self.loading = {i: move for i, move in self.loading.items() if move.id not in done}

    @rule(tokens=st.integers(1, 30), host=layer_sets)
    @precondition(lambda self: len(self.bench.requests) < 3)
    def admit(self, tokens: int, host: tuple[int, ...]) -> None:
        self.next_id += 1
        self.bench.admit(self.next_id, MOST_TOKENS, host)
        first = (tokens + 1) // 2
        for piece in (first, tokens - first):
            if piece:
                self.settle(self.bench.step(chunks=[self.bench.chunk(self.next_id, piece)]))

    @rule(tokens=st.integers(1, 9))
    @precondition(lambda self: self.running)
    def grow(self, tokens: int) -> None:
        tokens = min(tokens, 8)
        self.settle(self.bench.step(self.running, passes=tokens))

    @rule(passes=st.integers(1, 3), ring=st.integers(0, 20))
    @precondition(lambda self: self.running)
    def grow_on(self, passes: int, ring: int) -> None:
        """Several steps of one batch, with a larger ring: prefetching runs on."""
        version = 10_000 + self.bench._steps
        pages = self.bench._ring(self.running, 2 * passes) + ring
        ids = self.running
        for _ in range(2):
            self.settle(self.bench.step(ids, passes=passes, ring=pages, version=version))

    @rule(index=st.integers(0, 2), layers=layer_sets)
    def place(self, index: int, layers: tuple[int, ...]) -> None:
        """Demote and promote as a new placement wants it."""
        request_id = self.pick(index, paused=False)
        if request_id is None or request_id not in self.running or request_id in self.loading:
            return
        host = set(self.bench.requests[request_id].host)
        down, up = tuple(sorted({*layers} - host)), tuple(sorted(host - {*layers}))
        moves = [self.bench.move(MoveKind.DEMOTE, request_id, down)] if down else []
        moves += [self.bench.move(MoveKind.PROMOTE, request_id, up)] if up else []
        self.settle(self.bench.step(self.running, moves=moves))

    @rule(index=st.integers(0, 2))
    def pause(self, index: int) -> None:
        request_id = self.pick(index, paused=False)
        if request_id is not None and request_id not in self.loading:
            self.settle(self.bench.step(moves=[self.bench.move(MoveKind.PAUSE, request_id, ALL)]))

    @rule(index=st.integers(0, 2), layers=layer_sets, waits=st.booleans())
    def load(self, index: int, layers: tuple[int, ...], waits: bool) -> None:
        request_id = self.pick(index, paused=True)
        if request_id is None or request_id in self.loading:
            return
        up = tuple(x for x in layers if x in self.bench.requests[request_id].host)
        if not up:
            return
        move = self.loading[request_id] = self.bench.move(MoveKind.LOAD, request_id, up)
        self.settle(self.bench.step(self.running, moves=[move]))
        if waits:
            self.bench.store.await_load()
            self.settle(self.bench.settle())

    @rule(index=st.integers(0, 2))
    def resume(self, index: int) -> None:
        request_id = self.pick(index, paused=True)
        if request_id is not None:
            move = self.bench.move(MoveKind.RESUME, request_id, ALL)
            self.bench.requests[request_id].paused = False
            ids = self.running
            self.bench.requests[request_id].paused = True
            self.settle(self.bench.step(ids, moves=[move]))

    @rule(index=st.integers(0, 2), paused=st.booleans())
    def finish(self, index: int, paused: bool) -> None:
        request_id = self.pick(index, paused=paused)
        if request_id is not None:
            self.bench.finish(request_id)
            self.settle(self.bench.settle())

    @rule(up=st.integers(0, 5), down=st.integers(0, 5))
    def move_some(self, up: int, down: int) -> None:
        self.bench.move_some(up, down)

    @rule()
    def catch_up(self) -> None:
        self.bench.compute.synchronize()

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        for request_id in list(self.bench.requests):
            self.bench.finish(request_id)
        self.bench.drain()
        device, host = self.bench.plane.device.book, self.bench.plane.host.book
        assert (device.deferred, host.deferred, host.held) == (0, 0, 0)
        assert device.held == device.used_for(Use.RING)


TestKvLife = KvLife.TestCase
TestKvLife.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
assert PAGE_TOKENS < 8
