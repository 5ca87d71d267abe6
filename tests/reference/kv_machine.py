"""A KV store driven by hand, beside a plain copy of all KV that every read is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from orbitflow.backend.attention.reference import Scratch
from orbitflow.backend.clock import WallClock
from orbitflow.backend.kv.plane import Plane, cpu_plane
from orbitflow.backend.kv.pool import PageShape
from orbitflow.backend.kv.store import KvStore
from orbitflow.backend.link.compute import Compute, EagerCompute
from orbitflow.backend.link.events import Wait, Waits
from orbitflow.engine.policy import DataPlane
from orbitflow.machine.pipeline import Overlap
from orbitflow.memory import KvAccount, KvLimits
from orbitflow.placement import HostLayers
from orbitflow.step import Move, MoveKind, PrefillChunk, Step

from .lagging import LaggingCompute
from .stepped_channel import LinkMode, SteppedChannel, channels

LAYERS, PAGE_TOKENS = 3, 4
SHAPE = PageShape(PAGE_TOKENS, kv_heads=2, head_dim=2)


class Corruption(AssertionError):
    """KV that was read is not KV that was written."""


@dataclass
class Reference:
    """One request: all K and V ever written, by layer, shape (tokens, 2, kv_heads, head_dim)."""

    layers: list[list[torch.Tensor]] = field(default_factory=lambda: [[] for _ in range(LAYERS)])
    host: HostLayers = ()
    paused: bool = False

    @property
    def tokens(self) -> int:
        return len(self.layers[-1])


class Bench:
    """A store, its reference, and steps for both. Every read is compared."""

    def __init__(
        self,
        mode: LinkMode = LinkMode.LATE,
        *,
        device_pages: int = 200,
        host_pages: int = 300,
        lagging: bool = True,
        off: Iterable[Wait] = (),
        overlap: Overlap = Overlap.RING,
        write_through: bool = True,
        compute: Compute | None = None,
    ) -> None:
        clock = WallClock()
        self.compute: Compute = compute or (LaggingCompute() if lagging else EagerCompute(clock))
        self.plane: Plane = cpu_plane(
            SHAPE, device_pages, host_pages, clock,
            channels=channels(mode), poison=True, waits=Waits(frozenset(off)), compute=self.compute,
            link_bytes_per_s=None,
        )  # fmt: skip
        self.store = KvStore(self.plane, LAYERS, DataPlane(overlap, write_through, 2))
        self.account = KvAccount(KvLimits(LAYERS, PAGE_TOKENS, device_pages, host_pages))
        self.write_through = write_through
        self.requests: dict[int, Reference] = {}
        self.final_pages: dict[int, int] = {}
        self.planned_up = self.planned_down = 0  # pages that the steps say cross the link
        self._moves = self._steps = 0
        self._random = torch.Generator().manual_seed(0)
        self.compared = 0

    # -- the policy's side ---------------------------------------------------------------------

    def move(self, kind: MoveKind, request_id: int, layers: HostLayers) -> Move:
        """A move as `orbitflow.engine.moves` asks for it."""
        tokens = self.requests[request_id].tokens
        full, held = tokens // PAGE_TOKENS, len(self.requests[request_id].host)
        pages = {
            MoveKind.PAUSE: LAYERS if self.write_through else LAYERS + (LAYERS - held) * full,
            MoveKind.RESUME: LAYERS if self.write_through else LAYERS + LAYERS * full,
            MoveKind.LOAD: len(layers) * full,
        }.get(kind, 0)
        self._moves += 1
        background = kind in (MoveKind.PROMOTE, MoveKind.LOAD)
        return Move(self._moves, kind, request_id, layers, pages, blocking=not background)

    def step(
        self,
        decode: Sequence[int] = (),
        *,
        chunks: Sequence[PrefillChunk] = (),
        moves: Sequence[Move] = (),
        passes: int = 1,
        ring: int | None = None,
        version: int | None = None,
    ) -> tuple[int, ...]:
        """Begin a step, make its passes, settle it. Return the moves that are done."""
        self.begin(decode, chunks, moves, passes, ring, version)
        for number in range(passes if decode or chunks else 0):
            self.one_pass(decode, chunks, number)
        return self.settle(moves)

    def begin(
        self,
        decode: Sequence[int] = (),
        chunks: Sequence[PrefillChunk] = (),
        moves: Sequence[Move] = (),
        passes: int = 1,
        ring: int | None = None,
        version: int | None = None,
    ) -> None:
        self._steps += 1
        for move in moves:
            self._note(move)
        now = (*decode, *(chunk.request_id for chunk in chunks))
        ring = self._ring(now, passes) if ring is None else ring
        contexts = np.array([self.requests[i].tokens + 1 for i in decode], dtype=np.int64)
        self._charge(ring, passes, {c.request_id: c.tokens for c in chunks})
        self.store.begin_step(
            Step(
                self._steps, tuple(chunks), tuple(decode), int(contexts.sum()), contexts, (), ring,
                tuple(moves), passes if now else 0, self._steps if version is None else version,
                False,
            )
        )  # fmt: skip

    def one_pass(
        self, decode: Sequence[int], chunks: Sequence[PrefillChunk] = (), number: int = 0
    ) -> None:
        """Every layer of one pass, as an executor does it."""
        for layer in range(LAYERS):
            self.store.begin_layer(layer)
            self._append(decode, layer)
            for request_id in decode:
                self._compare(request_id, layer)
            for chunk in chunks:
                self._extend(chunk, layer)
            self.store.end_layer(layer)
        self.store.end_pass()
        self.store.check(self.account)

    def settle(self, moves: Sequence[Move] = ()) -> tuple[int, ...]:
        done = self.store.take_moves_done()
        self.plane.device.book.check()
        self.plane.host.book.check()
        return done

    def admit(self, request_id: int, final_tokens: int, host: HostLayers = ()) -> None:
        self.requests[request_id] = Reference(host=host)
        self.final_pages[request_id] = -(-final_tokens // PAGE_TOKENS)
        self.store.admit(request_id, final_tokens, host)

    def chunk(self, request_id: int, tokens: int) -> PrefillChunk:
        reference = self.requests[request_id]
        host = reference.host
        return PrefillChunk(request_id, reference.tokens, tokens, True, host, host)

    def prefill(self, request_id: int, tokens: int, host: HostLayers = ()) -> None:
        """Admit a request and prefill it."""
        self.admit(request_id, tokens + 60, host)
        self.step(chunks=[self.chunk(request_id, tokens)])

    def finish(self, request_id: int) -> None:
        del self.requests[request_id], self.final_pages[request_id]
        self.store.finish(request_id)

    def drain(self) -> None:
        self.compute.synchronize()
        self.store.drain()
        self.compute.synchronize()

    def catch_up(self) -> None:
        """Let compute and stores be done with all they have."""
        self.compute.synchronize()
        self.plane.down.drain()

    def move_some(self, up: int = 0, down: int = 0) -> None:
        """Let that many copies of each direction take effect, if they may."""
        for channel, count in ((self.plane.up, up), (self.plane.down, down)):
            assert isinstance(channel, SteppedChannel)
            for _ in range(count):
                channel.move_next()

    # -- inside ---------------------------------------------------------------------------------

    def _note(self, move: Move) -> None:
        reference = self.requests[move.request_id]
        host = {*reference.host}
        if move.kind is MoveKind.DEMOTE:
            host |= {*move.layers}
        elif move.kind in (MoveKind.PROMOTE, MoveKind.LOAD):
            host -= {*move.layers}
        elif move.kind is MoveKind.PAUSE:
            host, reference.paused = {*range(LAYERS)}, True
        elif move.kind is MoveKind.RESUME:
            reference.paused = False
            host = host if self.write_through else set()
        reference.host = tuple(sorted(host))

    def _ring(self, request_ids: Sequence[int], passes: int) -> int:
        group = max(
            (
                sum(
                    (self.requests[i].tokens + passes - 1) // PAGE_TOKENS
                    for i in request_ids
                    if layer in self.requests[i].host
                )
                for layer in range(LAYERS)
            ),
            default=0,
        )
        return 2 * group

    def _charge(self, ring: int, passes: int, chunks: dict[int, int]) -> None:
        """Charge the account as `orbitflow.engine.apply` does."""
        window = 0
        for request_id, reference in self.requests.items():
            resident = LAYERS - len(reference.host)
            tokens = reference.tokens + chunks.get(request_id, passes)
            pages = -(-tokens // PAGE_TOKENS)
            tails = 0 if reference.paused else len(reference.host)
            window += resident * pages + tails
            self.account.charge(request_id, 0, LAYERS * self.final_pages[request_id])
        for request_id in [i for i in self.account._held if i not in self.requests]:
            self.account.release(request_id)
        self.account.set_window(window, ring)

    def _new(self, tokens: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """New K and V, and the tensors that compute will have put them in when it gets there."""
        real = torch.rand((2, tokens, 2, 2), generator=self._random)
        k, v = torch.full_like(real, float("nan"))
        self.compute.run(lambda: (k.copy_(real[0]), v.copy_(real[1])))
        return real, k, v

    def _append(self, decode: Sequence[int], layer: int) -> None:
        if decode:
            real, k, v = self._new(len(decode))
            for index, request_id in enumerate(decode):
                self.requests[request_id].layers[layer].append(real[:, index])
            self.store.append(decode, layer, k, v)

    def _extend(self, chunk: PrefillChunk, layer: int) -> None:
        if chunk.start:
            self._compare(chunk.request_id, layer)
        real, k, v = self._new(chunk.tokens)
        self.requests[chunk.request_id].layers[layer] += list(real.unbind(1))
        self.store.extend(chunk.request_id, layer, k, v)

    def _compare(self, request_id: int, layer: int) -> None:
        """Queue a read of all KV of one (request, layer), to be compared when compute does it."""
        written = self.requests[request_id].layers[layer]
        want = torch.stack(written, 1)
        table = self.store.read(request_id, layer)
        views = self.store.segments(table)

        def read() -> None:
            self.compared += 1
            k, v = Scratch().join(views)
            if not (torch.equal(k, want[0]) and torch.equal(v, want[1])):
                raise Corruption(f"request {request_id}, layer {layer}")

        self.compute.run(read)
