"""The staging ring, and the work-conserving prefetcher that loads host groups into it.

The ring holds device pages, first in, first out. A segment is as many pages as its group needs:

    0 <= used <= capacity,   used = sum of the segments that are not released

A released page may be filled again when its last use is over. That event travels with the page, so
the host never waits for it. The capacity is what the step says (`Step.ring_pages`).

The prefetcher walks the groups in execution order, on into the next passes. Host pages never
change, so a group of a later pass can travel as soon as its last page is on the host. Places are
counted over passes of L layers plus one place for what is outside the layers. If compute is at
place `now`, group g may travel if

    g <= now + ahead     and the ring has room for it

ahead is infinite for `ring` (and `paper`, up to the end of the pass), 1 for `barrier`, 0 for
`serial` and `batches` (see `orbitflow.machine.pipeline`). A step whose groups exceed the ring is
refused before its first pass (`BatchGroups`). Groups of later steps wait: these may bring another
ring.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from orbitflow.backend.kv.layers import BatchGroups, GroupPart
from orbitflow.backend.kv.pages import RING
from orbitflow.backend.kv.plane import Plane
from orbitflow.backend.kv.pool import PagePool
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


class StagingRing:
    """A ring over pages of the device pool. A segment is the tuple of its pages."""

    def __init__(self, pool: PagePool) -> None:
        self._pool = pool
        self._free: deque[int] = deque()
        self._segments: deque[tuple[int, ...]] = deque()
        self.capacity = 0

    @property
    def used(self) -> int:
        """Pages in segments."""
        return self.capacity - len(self._free)

    def resize(self, pages: int) -> None:
        """Change the capacity to `pages`. The ring must be empty."""
        assert not self._segments, "the ring is in use"
        if pages < self.capacity:
            dropped = [self._free.pop() for _ in range(self.capacity - pages)]
            self._pool.book.give_back(dropped, RING, self._pool.ready(dropped))
        elif pages > self.capacity:
            more = pages - self.capacity
            self._free.extend(self._pool.book.take(more, RING, from_end=True))
            self._free = deque(sorted(self._free))  # neighbours copy in one run
        self.capacity = pages

    def has_room(self, pages: int) -> bool:
        """Whether a segment of that many pages can be taken now."""
        return pages <= len(self._free)

    def take(self, pages: int) -> tuple[int, ...]:
        """Take the next segment."""
        assert self.has_room(pages), "the ring has no room"
        segment = tuple(self._free.popleft() for _ in range(pages))
        self._segments.append(segment)
        return segment

    def release(self, segment: tuple[int, ...], after: Event) -> None:
        """Release the oldest segment; its pages are refilled after the event."""
        oldest = self._segments.popleft()
        assert oldest is segment, "segments are released in the order they were taken"
        self._free.extend(segment)
        self._pool.set_ready(segment, after)


@dataclass(slots=True)
class _Staged:
    place: int
    segment: tuple[int, ...]
    loaded: Event
    size_bytes: int
    pages: dict[int, Sequence[int]]  # device pages by request


class Prefetcher:
    """Loads groups for one batch; `start` begins with another one."""

    def __init__(
        self,
        layers: int,
        overlap: Overlap,
        ring: StagingRing,
        plane: Plane,
        groups: BatchGroups,
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
        self.dropped_bytes = 0  # of groups that were loaded and never used

    def start(self, passes: int | None = None) -> None:
        """Walk the groups of a new batch, for `passes` passes or until stopped."""
        self.stop()
        self._next, self._last, self._pass, self._now = 0, 0, 0, -1
        self._until = inf if passes is None else passes * self._places
        self.pump()

    def stop(self) -> None:
        """Load no more. Staged segments are released when their copies are over."""
        while self._staged:
            staged = self._staged.popleft()
            self._ring.release(staged.segment, staged.loaded)
            self.dropped_bytes += staged.size_bytes
        self._until = 0

    def begin(self, layer: int) -> dict[int, Sequence[int]]:
        """Let compute wait for a layer's group. Return the device pages of each request in it.

        Raise a BackendError if the layer has a group and it was not loaded.
        """
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
            self._plane.device.spoil(staged.segment)
            self._ring.release(staged.segment, self._plane.compute.record())
            self.used_bytes += staged.size_bytes
        if layer == self._places - 2:
            self._now += 1  # outside the layers
            self._pass += 1
        self.pump()

    def pump(self) -> None:
        """Load while there is a group to load and room for it."""
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

    def _load(self, layer: int, parts: list[GroupPart]) -> bool:
        """Load a group if the ring has room; return whether it had."""
        size = sum(len(part.slots) for part in parts if part.own is None)
        if not self._ring.has_room(size):
            return False
        segment = self._ring.take(size)
        room = iter(segment)
        pages = {
            part.request_id: [next(room) for _ in part.slots] if part.own is None else part.own
            for part in parts
        }
        pairs = [
            pair for part in parts for pair in zip(part.slots, pages[part.request_id], strict=True)
        ]
        stored = [event for part in parts for event in part.stored]
        loaded = self._plane.fetch(pairs, stored, f"layer {layer}")
        for part in parts:
            self._groups.loading(part, layer, loaded)
        self._last = self._next
        size_bytes = len(pairs) * self._plane.shape.page_bytes
        self._staged.append(_Staged(self._next, segment, loaded, size_bytes, pages))
        return True
