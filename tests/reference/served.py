"""A workload served by real tokens, steps as fast as they come, on the real executor.

Everything that can be done to a run without changing a bit of its logits is an argument here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random

import torch
from torch import Tensor

from orbitflow.backend.clock import Clock, WallClock
from orbitflow.backend.executor import TorchExecutor
from orbitflow.backend.kv.pages import Use
from orbitflow.backend.kv.plane import Plane, cpu_plane
from orbitflow.backend.kv.pool import PageShape
from orbitflow.backend.kv.store import KvStore
from orbitflow.backend.link.channel import TransferSink
from orbitflow.backend.link.events import Wait, Waits
from orbitflow.backend.model.architecture import read_architecture
from orbitflow.backend.model.decoder import Decoder
from orbitflow.backend.model.weights import random_weights
from orbitflow.engine.engine import ServingCore
from orbitflow.engine.policy import Policy
from orbitflow.machine.cost import CostModel
from orbitflow.machine.line_passes import DecodeFit, LinePasses, PrefillFit
from orbitflow.machine.profile import HostFit, LinkFit
from orbitflow.memory import KvLimits
from orbitflow.policy.registry import make_policy
from orbitflow.request import Request
from orbitflow.step import Idle, MoveKind, Step, StepOutcome

from .served_links import Shuffler, StirredStore
from .stepped_channel import LinkMode, channels

torch.set_num_threads(1)

PAGE, LAYERS, HOST_PAGES, VOCABULARY = 4, 8, 4000, 512
ROOMY = 2000  # tokens of KV on the device, where a policy moves things about without need
PLENTY = 4000  # tokens of KV on the device: nobody ever has to move
Logits = dict[int, list[Tensor]]


def workload(*lengths: tuple[int, int]) -> tuple[Request, ...]:
    """Requests of these prompts and outputs, in tokens."""
    return tuple(Request(i, 0.0, *both) for i, both in enumerate(lengths))


REQUESTS = workload(  # around page boundaries; several come at once, some while others run
    *((3, 9), (4, 12), (5, 20), (8, 8), (15, 17), (16, 16), (1, 30), (21, 2), (7, 1), (12, 24))
)


def prompt(request: Request) -> list[int]:
    """A prompt of its own for each request."""
    draw = torch.Generator().manual_seed(request.id)
    drawn = torch.randint(0, VOCABULARY, (request.prompt_tokens,), generator=draw)
    tokens: list[int] = drawn.tolist()
    return tokens


@cache
def tiny_decoder() -> Decoder:
    """The model that everything runs on: narrow, to be fast, and with layers enough for a ring of
    two groups to pay.
    """
    tiny = read_architecture("tiny")
    narrow = replace(
        tiny.spec, layers=LAYERS, hidden_size=128, heads=4, kv_heads=2, head_dim=32,
        intermediate_size=256, vocab_size=VOCABULARY,
    )  # fmt: skip
    architecture = replace(tiny, spec=narrow)
    return Decoder(architecture, random_weights(architecture, 3, torch.device("cpu")))


class TickingClock:
    """A clock that moves a little whenever it is looked at, so that runs can be repeated."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def now_s(self) -> float:
        self._now_s += 1e-4
        return self._now_s

    def sleep_until(self, due_s: float) -> None:
        self._now_s = max(self._now_s, due_s)


def cost_model(decoder: Decoder, page_tokens: int) -> CostModel:
    """A machine on which it may pay to keep KV on the host."""
    shape = PageShape(page_tokens, decoder.kv_heads, decoder.head_dim, decoder.dtype)
    link = LinkFit(0.0, (1.0,), (2e8,))
    return CostModel(
        LAYERS, page_tokens, shape.page_bytes, LinePasses(DecodeFit(0.002, 0.0004, 1e-6, 0.0),
        PrefillFit(0.001, 1e-5, 0.0)), link, link, 0.0, HostFit(1e9, 1e9),
    )  # fmt: skip


@dataclass
class Server:
    """A policy, a core and an executor, ready to serve."""

    policy: Policy
    core: ServingCore
    plane: Plane
    store: KvStore
    executor: TorchExecutor
    clock: Clock
    logits: Logits


def server(
    policy: str | Policy,
    gpu_tokens: int,
    mode: LinkMode = LinkMode.LATE,
    *,
    requests: Sequence[Request] = REQUESTS,
    chunk: int = 0,
    page: int = PAGE,
    seed: int = 0,
    off: Iterable[Wait] = (),
    sink: TransferSink | None = None,
) -> Server:
    """Build one. In manual mode the seed decides the order in which copies take effect."""
    decoder = tiny_decoder()
    limits = KvLimits(LAYERS, page, gpu_tokens // page * LAYERS, HOST_PAGES)
    shape = PageShape(page, decoder.kv_heads, decoder.head_dim, decoder.dtype)
    chosen = make_policy(policy) if isinstance(policy, str) else policy
    chosen.bind(limits, cost_model(decoder, page))
    core = ServingCore(chosen, limits, tbt_limit_s=0.003, max_batch=6, prefill_chunk=chunk)
    clock: Clock = WallClock() if mode is LinkMode.PACED else TickingClock()
    plane = cpu_plane(
        shape, limits.gpu_pages, HOST_PAGES, clock,
        link_bytes_per_s=None, poison=True, waits=Waits(frozenset(off)), sink=sink,
        channels=channels(mode),
    )  # fmt: skip
    store = KvStore(plane, LAYERS, chosen.data_plane)
    if mode is LinkMode.MANUAL:
        store = StirredStore(plane, LAYERS, chosen.data_plane, Shuffler(plane, seed))
    logits: Logits = {}
    executor = TorchExecutor(
        decoder, plane, store, clock, {r.id: r for r in requests}, prompt,
        data_plane=chosen.data_plane, account=core.account, queues=core.queues,
        on_logits=lambda i, row: logits.setdefault(i, []).append(row.clone()),
    )  # fmt: skip
    return Server(chosen, core, plane, store, executor, clock, logits)


class Served:
    """What came of serving: logits, tokens, every step with its outcome.

    All but the last three requests arrive at once, those one by one while the others run. With
    `stops`, steps end early at random passes. `watch` sees each step before it is carried out.
    """

    def __init__(
        self,
        machine: Server,
        requests: Sequence[Request] = REQUESTS,
        *,
        stops: int | None = None,
        watch: Callable[[Step], object] = lambda step: None,
    ) -> None:
        self.steps: list[tuple[Step, StepOutcome]] = []
        self.parks = 0
        self._machine = machine
        self._watch = watch
        self._random = None if stops is None else Random(stops)
        try:
            self._serve(requests)
        finally:
            machine.executor.close()
        book = machine.plane.device.book
        assert book.held == book.used_for(Use.RING), "only the ring outlives the last request"
        assert machine.plane.host.book.held == 0
        self.logits = machine.logits
        self.tokens = machine.executor.tokens

    @property
    def kinds(self) -> set[MoveKind]:
        """How KV was moved."""
        return {move.kind for step, _ in self.steps for move in step.moves}

    @property
    def chunks(self) -> dict[int, list[tuple[int, int]]]:
        """Start and length of the pieces of each prompt, in order."""
        pieces: dict[int, list[tuple[int, int]]] = {}
        for step, _ in self.steps:
            for chunk in step.chunks:
                pieces.setdefault(chunk.request_id, []).append((chunk.start, chunk.tokens))
        return pieces

    def _serve(self, requests: Sequence[Request]) -> None:
        core, clock = self._machine.core, self._machine.clock
        first = max(1, len(requests) - 3)
        late = list(requests[first:])
        for request in requests[:first]:
            assert core.submit(request, clock.now_s()) is None
        rounds = 0
        while not (core.is_drained and not late):
            rounds += 1
            assert rounds < 5000, "no end in sight"
            if late and rounds % 4 == 0:
                assert core.submit(late.pop(0), clock.now_s()) is None
            step = core.next_step(clock.now_s())
            if step.plan_request is not None:
                core.adopt(core.solve(step.plan_request), clock.now_s())
            if isinstance(step, Step):
                self._carry_out(step)
            else:
                assert isinstance(step, Idle)

    def _carry_out(self, step: Step) -> None:
        self._watch(step)
        machine = self._machine
        outcome = machine.executor.execute(step, machine.clock.now_s(), self._wants_to_stop)
        self.steps.append((step, outcome))
        self.parks += len(machine.core.finish(step, outcome).paused)

    def _wants_to_stop(self) -> bool:
        return self._random is not None and self._random.random() < 0.3


def alone(requests: Sequence[Request] = REQUESTS, chunk: int = 0) -> Logits:
    """Logits of each request served by itself, everything resident."""
    logits: Logits = {}
    for request in requests:
        logits[request.id] = _alone(request, chunk)
    return logits


@cache
def _alone(request: Request, chunk: int) -> list[Tensor]:
    machine = server("no-offload", PLENTY, requests=[request], chunk=chunk)
    return Served(machine, [request]).logits[request.id]


def same(got: Logits, want: Logits) -> None:
    """Assert that logits are equal bit for bit."""
    assert got.keys() == want.keys()
    for request_id, rows in want.items():
        assert len(got[request_id]) == len(rows)
        for number, (a, b) in enumerate(zip(got[request_id], rows, strict=True)):
            assert torch.equal(a, b), f"request {request_id}, token {number}"
