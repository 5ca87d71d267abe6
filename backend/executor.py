"""Steps on a real machine: real tokens, real KV, real copies, timed by the clock.

One pass, for the decode batch and the chunks that share it:

    h = embed(last token of each);   per layer:  wait for its KV, write new K and V,
    attend request by request, finish the layer, let stores and prefetch go on;   tokens = greedy

The counterpart of `orbitflow.sim.step_executor`: same steps in, same outcomes out, measured instead
of modelled. Every request has all its tokens in every layer, wherever they lie, and is attended to
by itself. So on a CPU in fp32 no policy changes a single bit of any logit. A policy that reads only
a share of the KV on the host is refused: it would get other answers and other times than it asks
for, and `orbitflow sim` models its times. Design section 6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from orbitflow.backend.attention.decode import attention_for
from orbitflow.backend.attention.reference import Scratch, Segment, prefill_attention
from orbitflow.backend.clock import Clock
from orbitflow.backend.kv.plane import Plane
from orbitflow.backend.kv.store import KvStore, Traffic
from orbitflow.backend.model.decoder import Decoder, greedy
from orbitflow.engine.policy import DataPlane, Policy
from orbitflow.engine.queues import Queues
from orbitflow.errors import UserError
from orbitflow.memory import KvAccount
from orbitflow.request import Request
from orbitflow.results.timeline import Span, SpanSink
from orbitflow.step import MoveKind, PrefillChunk, Step, StepOutcome

Prompts = Callable[[Request], list[int]]
OnToken = Callable[[int, int], object]  # request, its next token
OnLogits = Callable[[int, Tensor], object]  # request, its logits: for tests and tools


@dataclass(slots=True)
class _Chunk:
    """A chunk of a prompt on its way through the layers."""

    chunk: PrefillChunk
    hidden: Tensor
    positions: Tensor


class TorchExecutor:
    """Carries out steps. `tokens` has the prompt and the generated tokens of each request. `span`
    gets the time of each layer; give it only where a layer is done when its call returns, as on a
    CPU.

    Raise a UserError for a data plane that reads only a share of the KV on the host.
    """

    def __init__(
        self,
        decoder: Decoder,
        plane: Plane,
        store: KvStore,
        clock: Clock,
        requests: Mapping[int, Request],
        prompts: Prompts,
        *,
        data_plane: DataPlane,
        account: KvAccount,
        queues: Queues,
        on_token: OnToken | None = None,
        on_logits: OnLogits | None = None,
        span: SpanSink | None = None,
    ) -> None:
        refuse_selection(data_plane)
        self.tokens: dict[int, list[int]] = {}
        self._decoder = decoder
        self._prefiller = decoder.for_prefill()
        self._plane = plane
        self._store = store
        self._clock = clock
        self._requests = requests
        self._prompts = prompts
        self._attends = data_plane.host_read.attends
        self._account = account
        self._queues = queues
        self._on_token = on_token
        self._on_logits = on_logits
        self._span = span
        self._scratch = Scratch()
        self.attention = attention_for(
            store, plane.device.storage, self._segments, self._scratch, attends=self._attends
        )
        self._held: set[int] = set()  # requests that the store knows

    def execute(
        self, step: Step, start_s: float, stop: Callable[[], bool] = lambda: False
    ) -> StepOutcome:
        """Do a step; ask `stop` after each pass. Raise what a failed copy raises."""
        before = self._store.traffic
        self._meet(step)
        self._plane.compute.take_stall_s()
        self._store.begin_step(step)
        ends: list[float] = []
        stalls: list[float] = []
        promotes = any(move.kind is MoveKind.PROMOTE for move in step.moves)
        for number in range(1 if promotes else step.passes):
            begin_s = self._clock.now_s() if ends else start_s
            self._pass(step, step.chunks if not number else ())
            self._plane.compute.synchronize()
            ends.append(self._clock.now_s())
            stalls.append(min(self._plane.compute.take_stall_s(), ends[-1] - begin_s))
            self._store.end_pass()
            self._store.check(self._account)
            if stop():
                break
        done = self._store.take_moves_done()
        if not (step.passes or done):
            self._store.await_load()
            done = self._store.take_moves_done()
        self._forget_finished(step)
        return self._outcome(step, start_s, ends, stalls, before, done)

    def close(self) -> None:
        """Wait for copies in flight and end the channels."""
        try:
            self._store.drain()
        finally:  # a copy worker may have died
            self._plane.close()

    # -- one pass ----------------------------------------------------------------------------------

    def _pass(self, step: Step, chunks: tuple[PrefillChunk, ...]) -> None:
        decoder, store, ids = self._decoder, self._store, step.decode_ids
        with torch.inference_mode():
            pieces = [self._piece(chunk) for chunk in chunks]
            positions = torch.tensor([store.tokens(i) for i in ids], dtype=torch.long)
            last = torch.tensor([self.tokens[i][-1] for i in ids], dtype=torch.long)
            hidden = decoder.embed(last.to(decoder.device)) if ids else None
            positions = positions.to(decoder.device)
            self.attention.begin_pass(ids, positions)
            for layer in range(decoder.layers):
                store.begin_layer(layer)
                began_s = 0.0 if self._span is None else self._clock.now_s()
                if hidden is not None:
                    hidden = self._decode_layer(ids, layer, hidden, positions)
                for piece in pieces:
                    self._prefill_layer(piece, layer)
                if self._span is not None:
                    self._span(Span("compute", f"layer {layer}", began_s, self._clock.now_s()))
                store.end_layer(layer)
            if hidden is not None:
                self._emit(ids, decoder.logits(hidden)[: len(ids)])
            for piece in pieces:
                if piece.chunk.is_last:
                    rows = self._prefiller.logits(piece.hidden[-1:])
                    self._emit((piece.chunk.request_id,), rows)

    def _decode_layer(
        self, ids: tuple[int, ...], layer: int, hidden: Tensor, positions: Tensor
    ) -> Tensor:
        q, k, v = self._decoder.qkv(layer, hidden, positions)
        self._store.append(ids, layer, k, v)
        return self._decoder.finish(layer, hidden, self.attention(layer, q))

    def _piece(self, chunk: PrefillChunk) -> _Chunk:
        tokens = self.tokens[chunk.request_id][chunk.start : chunk.start + chunk.tokens]
        device = self._decoder.device
        positions = torch.arange(chunk.start, chunk.start + chunk.tokens, device=device)
        hidden = self._prefiller.embed(torch.tensor(tokens, dtype=torch.long, device=device))
        return _Chunk(chunk, hidden, positions)

    def _prefill_layer(self, piece: _Chunk, layer: int) -> None:
        request_id = piece.chunk.request_id
        q, k, v = self._prefiller.qkv(layer, piece.hidden, piece.positions)
        prior = self._segments(request_id, layer) if piece.chunk.start else []
        attended = prefill_attention(q, k, v, prior, self._scratch)
        self._store.extend(request_id, layer, k.contiguous(), v.contiguous())
        piece.hidden = self._prefiller.finish(layer, piece.hidden, attended)

    def _segments(self, request_id: int, layer: int) -> list[Segment]:
        """KV of all tokens so far, in order. What the CPU attends to comes first."""
        store = self._store
        device = store.segments(store.read(request_id, layer))
        if not self._attends:
            return device
        pages, size = self._plane.host, self._plane.shape.page_tokens
        host = [pages.page(number) for number in store.read_host(request_id, layer).pages]
        return [(page[0, :size], page[1, :size]) for page in host] + device

    def _emit(self, ids: tuple[int, ...], logits: Tensor) -> None:
        for row, (request_id, token) in enumerate(zip(ids, greedy(logits).tolist(), strict=True)):
            self.tokens[request_id].append(token)
            if self._on_token is not None:
                self._on_token(request_id, token)
            if self._on_logits is not None:
                self._on_logits(request_id, logits[row])

    # -- requests ----------------------------------------------------------------------------------

    def _meet(self, step: Step) -> None:
        """Make room for new requests; free the KV that a decision has dropped."""
        for state in (*self._queues.paused.values(), *self._queues.prefills):
            if state.id in self._held and not state.prefilled_tokens:
                self._store.finish(state.id)  # dropped; this step may prefill it again
                self._held.discard(state.id)
        for chunk in step.chunks:
            if chunk.request_id not in self._held:
                request = self._requests[chunk.request_id]
                self._store.admit(request.id, request.final_tokens, chunk.host_layers)
                self._held.add(request.id)
                self.tokens.setdefault(request.id, list(self._prompts(request)))

    def _forget_finished(self, step: Step) -> None:
        for request_id in (*step.decode_ids, *(c.request_id for c in step.chunks)):
            request = self._requests[request_id]
            generated = len(self.tokens[request_id]) - request.prompt_tokens
            if generated == request.output_tokens and request_id in self._held:
                self._store.finish(request_id)
                self._held.discard(request_id)

    def _outcome(
        self,
        step: Step,
        start_s: float,
        ends: list[float],
        stalls: list[float],
        before: Traffic,
        done: tuple[int, ...],
    ) -> StepOutcome:
        now, up = self._store.traffic, self._plane.up.take_use()
        self._plane.down.take_use()
        return StepOutcome(
            start_s,
            np.array(ends),
            sum(stalls),
            up.busy_s,
            now.up - before.up,
            now.sent - before.sent,
            done,
            ends[-1] if ends else self._clock.now_s(),
            np.array(stalls) if ends else None,
        )


def refuse_unserved(policy: Policy, *, on_cpu: bool = True) -> None:
    """Raise a UserError if the backend cannot do what a policy asks for."""
    read = policy.data_plane.host_read
    if read.attends and not on_cpu:
        raise UserError(
            f"--policy {policy.name} attends to KV with the CPU, which is there with --device cpu "
            "only: use `orbitflow sim`, or leave it out"
        )
    if policy.is_lossy or read.selects:
        raise UserError(_refusal(f"--policy {policy.name}", read.fetched_share))


def refuse_selection(data_plane: DataPlane) -> None:
    """Raise a UserError if only a share of the KV on the host is to be read."""
    read = data_plane.host_read
    if read.selects:
        raise UserError(_refusal("a data plane that selects", read.fetched_share))


def _refusal(what: str, share: float) -> str:
    reads = f"reads {share:.0%} of the KV on the host" if share < 1 else "is lossy"
    return (
        f"{what} {reads}, and the backend computes exact attention only: "
        "use `orbitflow sim`, or leave it out"
    )
