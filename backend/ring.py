"""The staging ring: device pages that hold groups on their way through, first in, first out.

A segment is as many pages as its group needs, taken and released in order:

    0 <= used <= capacity, and used = sum of the segments that are not released

A released page may be filled again when what used it last is over; that event travels with the
page, so the host never waits for it. Capacity is what the step says (`Step.ring_pages`).
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from orbitflow.backend.kv.pages import RING
from orbitflow.backend.kv.pool import PagePool
from orbitflow.backend.link.events import Event


class Segment(NamedTuple):
    """Pages that one group is staged in."""

    pages: tuple[int, ...]


class Ring:
    """A ring over pages of the device pool."""

    def __init__(self, pool: PagePool) -> None:
        self._pool = pool
        self._free: deque[int] = deque()
        self._segments: deque[Segment] = deque()
        self.capacity = 0

    @property
    def used(self) -> int:
        """Pages in segments."""
        return self.capacity - len(self._free)

    def resize(self, pages: int) -> None:
        """Have `pages` pages. Only an empty ring changes its size."""
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
        """Whether a segment of so many pages can be taken now."""
        return pages <= len(self._free)

    def take(self, pages: int) -> Segment:
        """Take the next segment."""
        assert self.has_room(pages), "the ring has no room"
        segment = Segment(tuple(self._free.popleft() for _ in range(pages)))
        self._segments.append(segment)
        return segment

    def release(self, segment: Segment, after: Event) -> None:
        """Release the oldest segment; its pages are refilled after the event."""
        oldest = self._segments.popleft()
        assert oldest is segment, "segments are released in the order they were taken"
        self._free.extend(segment.pages)
        self._pool.set_ready(segment.pages, after)
