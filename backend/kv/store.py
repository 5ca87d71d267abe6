"""The KV store: what a pass of the model reads and writes, whatever moves meanwhile.

    begin_step(step)                                  moves, ring, prefetcher
    for each layer:  begin_layer                      compute waits for what was on the host
                     append | (read, then extend)     new K and V
                     read                             pages of all tokens so far
                     end_layer                        full tails are stored, the ring moves on
    end_pass

Every request has exactly the tokens it was given: `read` raises where pages are missing, so nothing
is attended to in part (race 7 of `waits`). Layout and loop: design section 6.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from orbitflow.backend.kv.layers import BatchGroups, LayerKv, RequestKv

from orbitflow.backend.attention.reference import CpuPages, Gathered, Segment
from orbitflow.backend.kv.moves import Relocator
from orbitflow.backend.kv.pages import Use
from orbitflow.backend.kv.plane import Plane
from orbitflow.backend.kv.pool import runs
from orbitflow.backend.kv.staging import Prefetcher, StagingRing
from orbitflow.backend.kv.tails import Stores, Tails
from orbitflow.backend.link.events import Wait
from orbitflow.engine.policy import DataPlane
from orbitflow.errors import BackendError
from orbitflow.memory import KvAccount
from orbitflow.placement import HostLayers
from orbitflow.step import MoveKind, Step


class Table(NamedTuple):
    """Pages that hold `tokens` tokens in order; only the last may be partly filled."""

    pages: tuple[int, ...]
    tokens: int


class Traffic(NamedTuple):
    """Bytes that crossed the link, or are about to, since the start."""

    streamed: int  # in groups that compute used
    dropped: int  # in groups that were loaded for nothing
    fetched: int  # by resumptions
    loaded: int  # in the background
    sent: int  # down


class KvStore:
    """KV of all requests in all layers."""

    def __init__(self, plane: Plane, layers: int, data_plane: DataPlane) -> None:
        self._plane = plane
        self._layers = layers
        self._page_tokens = plane.shape.page_tokens
        self._write_through = data_plane.write_through
        self._attends = data_plane.host_read.attends
        self._requests: dict[int, RequestKv] = {}
        self._stores = Stores(plane)
        self._tails = Tails(plane, self._stores)
        self._relocator = Relocator(plane, self._requests, self._stores, self._write_through)
        self._groups = BatchGroups(self._page_tokens, self._requests, self._attends)
        self._ring = StagingRing(plane.device)
        self._prefetcher = Prefetcher(layers, data_plane.overlap, self._ring, plane, self._groups)
        storage = plane.device.storage
        self._cpu_pages = None if storage.is_cuda else CpuPages(storage)
        self._version: int | None = None  # of the batch that is prefetched for
        self._readers: tuple[int, ...] = ()
        self._staged: dict[int, Sequence[int]] = {}

    # -- who is here ---------------------------------------------------------------------------

    def admit(self, request_id: int, final_tokens: int, host_layers: HostLayers = ()) -> None:
        """Make room on the host for a request that will hold `final_tokens` tokens."""
        rows = [LayerKv(request_id, layer, layer in host_layers) for layer in range(self._layers)]
        request = RequestKv(request_id, -(-final_tokens // self._page_tokens), rows)
        self._requests[request_id] = request
        if self._write_through:
            self._relocator.reserve(request)

    def finish(self, request_id: int) -> None:
        """Free what a request holds; what a copy still uses is freed after it."""
        self._stop()
        self._relocator.forget(self._requests.pop(request_id))

    def drop(self, request_id: int) -> None:
        """Lose a request's KV; it will be prefilled again."""
        request = self._requests[request_id]
        self.finish(request_id)
        self.admit(request_id, request.pages * self._page_tokens)

    def tokens(self, request_id: int) -> int:
        """Tokens whose KV is here."""
        return self._requests[request_id].layers[-1].tokens

    # -- a step ---------------------------------------------------------------------------------

    def begin_step(self, step: Step) -> None:
        """Carry out a step's moves and prefetch for its passes.

        Raise a PolicyError if a group exceeds the ring.
        """
        readers = (*step.decode_ids, *(chunk.request_id for chunk in step.chunks))
        moves = [move for move in step.moves if move.kind is not MoveKind.LOAD]
        changed = step.version != self._version or step.ring_pages != self._ring.capacity
        if moves or step.chunks or (step.passes and changed):
            self._stop()
        self._relocator.free(moves)
        if step.ring_pages != self._ring.capacity:
            self._stop()
            self._ring.resize(step.ring_pages)
        for request_id in readers:
            self._relocator.finish_loads(request_id)
        self._relocator.fetch(step.moves)
        if not step.passes:
            return
        for chunk in step.chunks:
            self._place(self._requests[chunk.request_id], chunk.host_layers)
        self._readers = readers
        restarts = self._version is None
        if restarts:
            self._groups.start(readers)
        self._groups.refuse_too_large(step.passes, step.ring_pages)
        if restarts:
            self._prefetcher.start(1 if step.chunks else None)
            self._version = step.version

    def await_load(self) -> None:
        """Return when the oldest background load is done, if there is one."""
        self._relocator.await_load()

    def take_moves_done(self) -> tuple[int, ...]:
        """Moves that are done since the last call."""
        return self._relocator.take_done()

    # -- a pass ---------------------------------------------------------------------------------

    def begin_layer(self, layer: int) -> None:
        """Let compute wait for what this layer has on the host."""
        self._staged = self._prefetcher.begin(layer)

    def append(
        self, request_ids: Iterable[int], layer: int, k: torch.Tensor, v: torch.Tensor
    ) -> None:
        """Write one new token of each request, shape (requests, kv_heads, head_dim)."""
        self._tails.append([self._requests[i].layers[layer] for i in request_ids], k, v)

    def extend(self, request_id: int, layer: int, k: torch.Tensor, v: torch.Tensor) -> None:
        """Write a piece of a prompt, contiguous, shape (tokens, kv_heads, head_dim).

        Read what is behind it before: in a layer on the host the piece does not stay on the device.
        """
        self._tails.extend(self._requests[request_id].layers[layer], k, v)

    def read(self, request_id: int, layer: int) -> Table:
        """Device pages of all tokens, in order; where the CPU attends, of those not on the host.

        Raise a BackendError if they are not all there.
        """
        kv = self._requests[request_id].layers[layer]
        full = self._staged.get(request_id, ()) if kv.on_host else kv.resident
        missing = 0 if kv.streams and self._attends else kv.tokens - kv.tail_tokens
        missing -= len(full) * self._page_tokens
        if missing and self._plane.waits.is_on(Wait.COUNTED):
            raise BackendError(
                f"request {request_id}, layer {layer}: {missing} of {kv.tokens} tokens are not on "
                "the device"
            )
        pages = tuple(full) if kv.tail is None else (*full, kv.tail)
        return Table(pages, len(full) * self._page_tokens + kv.tail_tokens)

    def read_host(self, request_id: int, layer: int) -> Table:
        """Host pages for the CPU to attend to, when their stores are done."""
        kv = self._requests[request_id].layers[layer]
        if not kv.streams:
            return Table((), 0)
        for event in self._plane.waits(Wait.STORED, kv.storing):
            event.wait()
        return Table(tuple(kv.slots[: kv.full]), kv.full * self._page_tokens)

    def segments(self, table: Table) -> list[Segment]:
        """K and V in order: full pages, then what is in the last page. On a GPU pages that are
        neighbours are one piece; on the CPU all are, gathered from wherever they are.
        """
        storage = self._plane.device.storage
        full, rest = divmod(table.tokens, self._page_tokens)
        pieces: list[Segment] = []
        if self._cpu_pages is not None:
            if full:
                pieces.append(Gathered(self._cpu_pages, np.array(table.pages[:full])))
        else:
            for first, count in runs(table.pages[:full]):
                k, v = storage[first : first + count].unbind(1)
                pieces.append((k, v))
        if rest:
            k, v = storage[table.pages[full], :, :rest].unbind(0)
            pieces.append((k, v))
        return pieces

    def end_layer(self, layer: int) -> None:
        """Compute is done with a layer: store what became full, let the ring move on."""
        for request_id in self._readers:
            kv = self._requests[request_id].layers[layer]
            self._tails.close(kv)
            if kv.arriving is not None:
                self._relocator.land(kv)
        self._prefetcher.end(layer)
        self._relocator.loads.advance()

    def end_pass(self) -> None:
        """A pass is over."""
        self._relocator.end_pass()
        self._plane.device.book.settle()
        self._plane.host.book.settle()

    # -- the account ----------------------------------------------------------------------------

    @property
    def traffic(self) -> Traffic:
        """Bytes over the link so far."""
        prefetcher, relocator = self._prefetcher, self._relocator
        return Traffic(
            prefetcher.used_bytes,
            prefetcher.dropped_bytes,
            relocator.fetched_bytes,
            relocator.loads.sent_bytes,
            self._stores.sent_bytes,
        )

    def check(self, account: KvAccount) -> None:
        """Raise a BackendError if pages are lost, or if more is held than the account charges."""
        book = self._plane.device.book
        extra = self._ring.capacity if account.limits.ring_is_extra else 0
        if book.free + book.held + book.deferred != book.total:
            raise BackendError(f"device pages are not conserved: {book.held} of {book.total} held")
        if book.held > account.gpu_used + extra:
            raise BackendError(
                f"{book.held} device pages are held ({book.used_for(Use.RING)} by the ring), the "
                f"account charges {account.gpu_used}"
            )
        host = self._plane.host.book
        if host.held > account.host_used:
            raise BackendError(
                f"{host.held} host pages are held, the account charges {account.host_used}"
            )

    def drain(self) -> None:
        """Stop prefetching and wait for everything under way."""
        self._stop()
        self._plane.drain()

    # -- inside ---------------------------------------------------------------------------------

    def _stop(self) -> None:
        self._prefetcher.stop()
        self._version = None

    def _place(self, request: RequestKv, host_layers: HostLayers) -> None:
        """Let a prompt's KV be where its next piece wants it."""
        for kv in request.layers:
            if kv.layer in host_layers and not kv.on_host:
                self._relocator.demote(kv)
            elif kv.layer not in host_layers and kv.on_host:
                self._relocator.promote(kv)
