"""Moves carried out: from where KV is to where the policy wants it.

demote   the device pages are free once their stores are done; nothing is copied
promote  pages of its own are loaded with the next pass's group, instead of ring pages
pause    the tails (without write-through, everything) are stored; then all pages are free but the
         full ones of layers that stay
resume   the tails (without write-through, everything) come back; compute waits for them
load     see `orbitflow.backend.kv.loads`

Moves that free pages come first, so that the others can take those pages. Nothing here blocks the
host: pages that a copy still uses are deferred, and whatever needs them waits
(`orbitflow.backend.kv.pages`). `orbitflow.engine.moves` says what each kind is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orbitflow.backend.kv.layers import LayerKv, RequestKv
from orbitflow.backend.kv.loads import Loads
from orbitflow.backend.kv.plane import Plane
from orbitflow.backend.kv.tails import Stores
from orbitflow.backend.link.events import Event, Wait
from orbitflow.placement import HostLayers
from orbitflow.step import Move, MoveKind


class Relocator:
    """Carries out moves. `fetched_bytes` counts what resumptions copied to the device."""

    def __init__(
        self, plane: Plane, requests: Mapping[int, RequestKv], stores: Stores, write_through: bool
    ) -> None:
        self._plane = plane
        self._requests = requests
        self._stores = stores
        self._write_through = write_through
        self._done: list[int] = []
        self._promoting: list[int] = []
        self.loads = Loads(plane, self.land)
        self.fetched_bytes = 0

    def free(self, moves: Iterable[Move]) -> None:
        """Carry out the moves that free pages."""
        for move in moves:
            request = self._requests[move.request_id]
            if move.kind is MoveKind.DEMOTE:
                for layer in move.layers:
                    self.demote(request.layers[layer])
                self._done.append(move.id)
            elif move.kind is MoveKind.PAUSE:
                self._park(request, move.layers)
                self._done.append(move.id)

    def fetch(self, moves: Iterable[Move]) -> None:
        """Carry out, or begin, the moves that need pages."""
        for move in moves:
            request = self._requests[move.request_id]
            if move.kind is MoveKind.RESUME:
                self._resume(request)
                self._done.append(move.id)
            elif move.kind is MoveKind.PROMOTE:
                for layer in move.layers:
                    self.promote(request.layers[layer])
                self._promoting.append(move.id)
            elif move.kind is MoveKind.LOAD:
                self.loads.ask(move, request)

    def finish_loads(self, request_id: int) -> None:
        """Wait for the loads of a request that decodes again."""
        self._done += self.loads.finish_for(request_id)

    def await_load(self) -> None:
        """Return when the oldest load is done."""
        self._done += self.loads.finish()

    def end_pass(self) -> None:
        """Count the promotions of this pass, and finished loads, as done."""
        self._done += self._promoting
        self._promoting.clear()
        self._done += self.loads.take_done()

    def take_done(self) -> tuple[int, ...]:
        """Moves that are done since the last call."""
        done, self._done = tuple(self._done), []
        return done

    def promote(self, kv: LayerKv) -> None:
        """Load a layer's full pages into pages of its own with the next group."""
        if kv.on_host and kv.arriving is None:
            kv.arriving = self._plane.device.book.take(kv.full, kv.owner)
            if not kv.full:
                self.land(kv)

    def land(self, kv: LayerKv) -> None:
        """Make the pages that were loaded the layer's own."""
        if kv.arriving is not None:
            kv.resident, kv.arriving, kv.on_host = kv.arriving, None, False

    def demote(self, kv: LayerKv) -> None:
        """Put a layer on the host: free its device pages after their stores."""
        assert kv.arriving is None, "a layer that is being loaded cannot be demoted"
        assert kv.on_host or kv.stored == kv.full, "a page was never stored"
        self._plane.device.book.give_back(kv.resident, kv.owner, kv.storing)
        kv.resident, kv.on_host = [], True

    def forget(self, request: RequestKv) -> None:
        """Free all that a request holds, on both sides."""
        self._done += self.loads.cancel(request.id)
        book = self._plane.device.book
        for kv in request.layers:
            book.give_back(kv.resident, kv.owner, kv.storing)
            book.give_back(kv.arriving or [], kv.owner, [kv.arrived])
            self._give_back_tail(kv, [])
            self._plane.host.book.give_back(kv.slots, kv.host_owner, kv.copies_of_slots())

    def reserve(self, request: RequestKv) -> None:
        """Take host slots for all that a request will hold."""
        for kv in request.layers:
            kv.slots = self._plane.host.book.take(request.pages, kv.host_owner)

    def _park(self, request: RequestKv, leaving: HostLayers) -> None:
        if not self._write_through:
            self.reserve(request)
        for layer, kv in enumerate(request.layers):
            if not kv.on_host and kv.stored < kv.full:
                self._stores.pages(kv, kv.resident[kv.stored :])
            if kv.tail is not None:
                self._give_back_tail(kv, [self._stores.tail(kv)])
            if not kv.on_host and layer in leaving:
                self.demote(kv)

    def _resume(self, request: RequestKv) -> None:
        events = [e for kv in request.layers for e in self._bring_back(kv)]
        self._plane.compute.wait(self._plane.waits(Wait.LOADED, events))

    def _bring_back(self, kv: LayerKv) -> list[Event]:
        """Load a layer's tail and, without write-through, its full pages."""
        book = self._plane.device.book
        pairs: list[tuple[int, int]] = []
        stored = list(kv.storing)
        if not self._write_through:
            kv.resident, kv.on_host = book.take(kv.full, kv.owner), False
            pairs += zip(kv.slots[: kv.full], kv.resident, strict=True)
        if kv.tail_stored is not None:
            (kv.tail,) = book.take(1, kv.tail_owner)
            pairs.append((kv.slots[kv.full], kv.tail))
            stored.append(kv.tail_stored)
        events = self._load(kv, pairs, stored)
        kv.tail_stored = None
        if not self._write_through:
            self._plane.host.book.give_back(kv.slots, kv.host_owner, kv.copies_of_slots())
            kv.slots, kv.stored = [], 0
        return events

    def _load(self, kv: LayerKv, pairs: list[tuple[int, int]], stored: list[Event]) -> list[Event]:
        if not pairs:
            return []
        event = self._plane.fetch(pairs, stored, f"resume {kv.request_id}")
        kv.note_read(event)
        self.fetched_bytes += len(pairs) * self._plane.shape.page_bytes
        return [event]

    def _give_back_tail(self, kv: LayerKv, after: list[Event]) -> None:
        if kv.tail is not None:
            self._plane.device.book.give_back([kv.tail], kv.tail_owner, after)
            kv.tail = None
