"""The work-conserving prefetcher: it walks the host groups in execution order and loads them as
long as the ring has room, on into the next passes.

A group is all that one layer of the batch has on the host. Host pages never change, so a group of a
later pass can travel as soon as its last page is on the host. With `now` the layer that compute is
at, counted over passes of L layers and one place for what is outside of them, group g may travel if

    g <= now + ahead                         and the ring has room for it

ahead is infinite for `ring` (and `paper`, up to the end of the pass), 1 for `barrier`, 0 for
`serial` and `batches` (see `orbitflow.machine.pipeline`). A step whose groups exceed the ring is
refused before its first pass (`BatchGroups`); those of later steps, which may bring another ring,
wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple, Protocol

from orbitflow.backend.kv.plane import Plane
from orbitflow.backend.kv.pool import page_copies
from orbitflow.backend.link.channel import bytes_of
from orbitflow.backend.link.events import Event, Wait
from orbitflow.errors import BackendError
from orbitflow.machine.pipeline import Overlap

_AHEAD = {
    Overlap.SERIAL: 0.0,
    Overlap.BATCHES: 0.0,
    Overlap.BARRIER: 1.0,
    Overlap.PAPER: inf,
    Overlap.RING: inf,
}


class Part(NamedTuple):
    """What one request has in a group: host pages, and pages of its own if it is being promoted."""

    request_id: int
    slots: Sequence[int]
    own: Sequence[int] | None
    stored: Sequence[Event]


class HostGroups(Protocol):
    """Knows what lies on the host."""

    def parts(self, layer: int, passes_ahead: int) -> list[Part] | None:
        """The group of a layer, so many passes after the start; None if a page is not full yet."""

    def loading(self, part: Part, layer: int, loaded: Event) -> None:
        """A part is on its way."""


@dataclass(slots=True)
class _Staged:
    place: int
    segment: RingSegment
    loaded: Event
    size_bytes: int
    pages: dict[int, Sequence[int]]  # device pages by request


class Prefetcher:
    """Loads groups for a batch that does not change; `start` begins with another one."""

    def __init__(
        self,
        layers: int,
        overlap: Overlap,
        ring: StagingRing,
        plane: Plane,
        groups: HostGroups,
    ) -> None:
        self._places = layers + 1
        self._overlap = overlap
        self._ring = ring
        self._plane = plane
        self._groups = groups
        self._staged: deque[_Staged] = deque()
        self._next = 0  # the place to load next
        self._last = 0  # the place of the last group that there was
        self._pass = 0
        self._now = -1  # the place that compute is at; the first pass comes from outside the layers
        self._until: float = 0
        self.used_bytes = 0  # of groups that compute has used
        self.dropped_bytes = 0  # of groups that were loaded for nothing

    def start(self, passes: int | None = None) -> None:
        """Walk the groups of a new batch, for so many passes or until stopped."""
        self.stop()
        self._next, self._last, self._pass, self._now = 0, 0, 0, -1
        self._until = inf if passes is None else passes * self._places
        self.pump()

    def stop(self) -> None:
        """Load no more. What is staged is released when its copy is over."""
        while self._staged:
            staged = self._staged.popleft()
            self._ring.release(staged.segment, staged.loaded)
            self.dropped_bytes += staged.size_bytes
        self._until = 0

    def begin(self, layer: int) -> dict[int, Sequence[int]]:
        """Let compute wait for a layer's group. Return the device pages of each request in it."""
        place = self._now = self._pass * self._places + layer
        self.pump()
        if not self._staged or self._staged[0].place != place:
            if self._next <= place < self._until:
                raise BackendError(f"layer {layer} has KV on the host that was not loaded")
            return {}
        self._plane.compute.wait(self._plane.waits(Wait.LOADED, [self._staged[0].loaded]))
        return self._staged[0].pages

    def end(self, layer: int) -> None:
        """Compute is done with a layer: its segment is free."""
        if self._staged and self._staged[0].place == self._now:
            staged = self._staged.popleft()
            self._plane.device.spoil(staged.segment.pages)
            self._ring.release(staged.segment, self._plane.compute.record())
            self.used_bytes += staged.size_bytes
        if layer == self._places - 2:
            self._now += 1  # outside the layers
            self._pass += 1
        self.pump()

    def pump(self) -> None:
        """Load while there is something to load and room for it."""
        while self._next < self._until and self._may_load(self._next):
            passes, layer = divmod(self._next, self._places)
            parts = [] if layer == self._places - 1 else self._groups.parts(layer, passes)
            if parts is None:
                return
            if parts and not self._load(layer, parts):
                return
            self._next += 1

    def _may_load(self, place: int) -> bool:
        if place > max(self._now, self._last) + self._places:
            return False  # a whole pass without a group: look again when compute is there
        if self._overlap is Overlap.PAPER:
            return place // self._places == self._now // self._places
        return place <= self._now + _AHEAD[self._overlap]

    def _load(self, layer: int, parts: list[Part]) -> bool:
        """Load a group if the ring has room; whether it had."""
        size = sum(len(part.slots) for part in parts if part.own is None)
        if not self._ring.has_room(size):
            return False
        segment = self._ring.take(size)
        room = iter(segment.pages)
        pages = {
            part.request_id: [next(room) for _ in part.slots] if part.own is None else part.own
            for part in parts
        }
        pairs = [
            pair for part in parts for pair in zip(part.slots, pages[part.request_id], strict=True)
        ]
        targets = [page for _, page in pairs]
        wait_for = [
            *self._plane.waits(Wait.STORED, (event for part in parts for event in part.stored)),
            *self._plane.waits(Wait.CONSUMED, self._plane.device.ready(targets)),
        ]
        copies = list(page_copies(self._plane.host.storage, self._plane.device.storage, pairs))
        loaded = self._plane.up.submit(copies, wait_for, f"layer {layer}")
        for part in parts:
            self._groups.loading(part, layer, loaded)
        self._last = self._next
        self._staged.append(_Staged(self._next, segment, loaded, bytes_of(copies), pages))
        return True
