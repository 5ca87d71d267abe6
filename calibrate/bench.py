"""The bench: passes of the serving code itself, on the machine, timed by its own outcomes.

    ServingCore (no-offload) -> Step -> TorchExecutor on a real Plane -> StepOutcome.pass_s
    synthetic prompts:  decode is the real one;  prefill: k = v ~ N(0, 1), no product with weights

All runs share one data plane, and a run leaves nothing behind in it. The policy keeps all KV on the
device, so a pass is compute alone unless the caller keeps the link busy meanwhile. With synthetic
prompts, decode passes over long contexts are timed without paying for the prompts. Memory and the
time to read it are as with real prompts; the text means nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from orbitflow.arrays import FloatArray
from orbitflow.backend.clock import AlarmClock
from orbitflow.backend.executor import TorchExecutor
from orbitflow.backend.kv.store import KvStore
from orbitflow.backend.machine import BackendMachine
from orbitflow.backend.model.decoder import QKV, Decoder, greedy
from orbitflow.engine.engine import ServingCore
from orbitflow.machine.cost import CostModel
from orbitflow.machine.line_passes import DecodeFit, LinePasses, PrefillFit
from orbitflow.machine.profile import LinkFit
from orbitflow.memory import KvLimits
from orbitflow.policy.no_offload import NoOffload
from orbitflow.request import Request
from orbitflow.step import Idle, PrefillChunk, Step

_LINK = LinkFit(0.0, (1.0,), (1e9,))


class Passes(NamedTuple):
    """Decode passes of one batch; its context grows by `requests` tokens in each."""

    requests: int
    context_tokens: int  # of all together, in the first pass
    pass_s: FloatArray


class ChunkTime(NamedTuple):
    """Time of a piece of a prompt, alone in its pass."""

    prior_tokens: int
    tokens: int
    pass_s: float


class Bench:
    """A model on a machine, with room for `capacity_tokens` of KV."""

    def __init__(
        self, decoder: Decoder, machine: BackendMachine, capacity_tokens: int, host_pages: int
    ) -> None:
        self.clock = AlarmClock()
        self.clock.start()
        self.machine = machine
        self.decoder = decoder
        self.shape = machine.shape(self.decoder)
        self.limits = KvLimits.from_tokens(
            self.decoder.layers, machine.page_tokens, capacity_tokens
        )
        self.plane = machine.plane(self.shape, self.limits.gpu_pages, host_pages, self.clock)
        self._synthetic = SyntheticPrompts(self.decoder)

    @property
    def longest_tokens(self) -> int:
        """The longest request that model and memory take."""
        return min(self.decoder.max_context_tokens, self.limits.capacity_tokens)

    def close(self) -> None:
        """End the plane's channels."""
        try:
            self.plane.drain()
        finally:
            self.plane.close()

    def decode(
        self,
        contexts: Sequence[int],
        passes: int,
        *,
        most_s: float = float("inf"),
        between: Callable[[], object] = lambda: None,
    ) -> Passes:
        """Time `passes` passes of requests of these contexts, fewer beyond `most_s` seconds.

        `between` is called before the first pass and after each.
        """
        requests = [Request(i, 0.0, c, passes + 1) for i, c in enumerate(contexts)]
        timed: list[Passes] = []

        def execute(executor: TorchExecutor, step: Step) -> bool:
            start_s = self.clock.now_s()
            if step.chunks:
                return core.finish(step, executor.execute(step, start_s)) is None

            def stop() -> bool:
                between()
                return self.clock.now_s() - start_s > most_s

            between()
            outcome = executor.execute(step, self.clock.now_s(), stop)
            timed.append(Passes(len(step.decode_ids), step.context_tokens, outcome.pass_s))
            return True

        core = self._core(0)
        self._run(core, self._synthetic, requests, execute)
        (one,) = timed
        return one

    def outside_s(self) -> float:
        """Time the work outside the layers for one block of rows, in seconds."""
        decoder = self.decoder
        with torch.inference_mode():
            self.plane.compute.synchronize()
            began_s = self.clock.now_s()
            tokens = torch.zeros(1, dtype=torch.long, device=decoder.device)
            greedy(decoder.logits(decoder.embed(tokens))).tolist()
            self.plane.compute.synchronize()
            return self.clock.now_s() - began_s

    def prefill(self, tokens: int, chunk: int = 0) -> list[ChunkTime]:
        """Time one real prompt, whole or in pieces of `chunk` tokens."""
        core = self._core(chunk)
        timed: list[ChunkTime] = []

        def execute(executor: TorchExecutor, step: Step) -> bool:
            outcome = executor.execute(step, self.clock.now_s())
            (piece,) = step.chunks
            timed.append(_chunk_time(piece, float(outcome.pass_s[0])))
            core.finish(step, outcome)
            return piece.is_last

        self._run(core, self.decoder, [Request(0, 0.0, tokens, 1)], execute)
        return timed

    def serve(self, requests: Sequence[Request]) -> tuple[list[Passes], list[ChunkTime]]:
        """Serve requests that all arrive at once, computed for real.

        Prompts and decode take turns, in batches that grow and shrink, on pages used before.
        """
        core = self._core(0, self.decoder.block_rows)
        decoded: list[Passes] = []
        prompts: list[ChunkTime] = []
        left = len(requests)

        def execute(executor: TorchExecutor, step: Step) -> bool:
            nonlocal left
            outcome = executor.execute(step, self.clock.now_s())
            if step.chunks:
                (piece,) = step.chunks
                if not step.decode_ids:
                    prompts.append(_chunk_time(piece, float(outcome.pass_s[0])))
            else:
                decoded.append(Passes(len(step.decode_ids), step.context_tokens, outcome.pass_s))
            left -= len(core.finish(step, outcome).finished)
            return not left

        self._run(core, self.decoder, requests, execute)
        return decoded, prompts

    def _core(self, chunk: int, max_batch: int | None = None) -> ServingCore:
        policy = NoOffload()
        cost = CostModel(
            *(self.limits.layers, self.limits.page_tokens, self.shape.page_bytes),
            LinePasses(DecodeFit(1.0, 0.0, 0.0, 0.0), PrefillFit(0.0, 1.0, 0.0)), _LINK, _LINK, 0.0,
        )  # fmt: skip
        policy.bind(self.limits, cost)
        return ServingCore(
            policy, self.limits, tbt_limit_s=1.0, max_batch=max_batch, prefill_chunk=chunk
        )

    def _run(
        self,
        core: ServingCore,
        decoder: Decoder,
        requests: Sequence[Request],
        execute: Callable[[TorchExecutor, Step], bool],
    ) -> None:
        """Take the core's steps to `execute` until that returns true."""
        store = KvStore(self.plane, self.limits.layers, core.policy.data_plane)
        executor = TorchExecutor(
            decoder, self.plane, store, self.clock, {r.id: r for r in requests}, _prompt,
            data_plane=core.policy.data_plane, account=core.account, queues=core.queues,
        )  # fmt: skip
        here: set[int] = set()
        try:
            for request in requests:
                refusal = core.submit(request, self.clock.now_s())
                assert refusal is None, refusal
            done = False
            while not done:
                step = core.next_step(self.clock.now_s())
                assert not isinstance(step, Idle), "the core has nothing to do"
                here |= {chunk.request_id for chunk in step.chunks}
                done = execute(executor, step)
        except BaseException:
            with suppress(Exception):  # what failed first is what is raised
                _clear(store, here)
            raise
        _clear(store, here)


def _prompt(request: Request) -> list[int]:
    return np.zeros(request.prompt_tokens, dtype=np.int64).tolist()


def _chunk_time(piece: PrefillChunk, pass_s: float) -> ChunkTime:
    return ChunkTime(piece.start, piece.tokens, pass_s)


def _clear(store: KvStore, request_ids: set[int]) -> None:
    """Free the pages of requests that are still there, and wait for their copies."""
    for request_id in request_ids:
        try:
            store.finish(request_id)
        except KeyError:
            continue  # served to its end
    store.drain()


class SyntheticPrompts(Decoder):
    """Decodes as `decoder` does, and fills prompts with random KV."""

    def __init__(self, decoder: Decoder) -> None:
        _share(self, decoder)

    def for_prefill(self) -> Decoder:
        """The decoder that fills prompts."""
        return _Filler(self)


class _Filler(Decoder):
    """Fills prompts with one query for all, so that attention is linear in their length."""

    def __init__(self, decoder: Decoder) -> None:
        _share(self, decoder)
        self._drawn = torch.empty(0)

    def embed(self, tokens: Tensor) -> Tensor:
        """A hidden state for the one query. The KV of all layers is drawn here."""
        if len(tokens) > len(self._drawn):
            shape = (len(tokens), self.kv_heads, self.head_dim)
            self._drawn = torch.randn(shape, dtype=self.dtype, device=self.device)
        return torch.zeros(1, 1, dtype=self.dtype, device=self.device)

    def qkv(self, layer: int, hidden: Tensor, positions: Tensor) -> QKV:
        """Random keys, which are also the values, and one query."""
        drawn = self._drawn[: len(positions)]
        return QKV(drawn.new_zeros(1, self.heads, self.head_dim), drawn, drawn)

    def finish(self, layer: int, hidden: Tensor, attended: Tensor) -> Tensor:
        """Nothing to add."""
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """The first token is token 0."""
        return torch.zeros(len(hidden), 1, device=self.device)


def _share(taker: Decoder, giver: Decoder) -> None:
    """Initialise `taker` with all that `giver` has; weights are shared."""
    Decoder.__init__(taker, giver.architecture, giver.weights, giver.block_rows, giver._rotations)
