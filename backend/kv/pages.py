"""Page numbers: who owns each page, which are free, and which will be once a copy is done.

    free + owned + deferred = total, and no page has two owners

A page that is given back while a copy still uses it is deferred: it has no owner, and it is free
when the copy is done. Whoever needs a page and finds none waits for the oldest of these.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from orbitflow.backend.link.events import Event, Wait, Waits
from orbitflow.errors import BackendError

IntArray = npt.NDArray[np.int64]


class Use(StrEnum):
    """What a page is for."""

    RESIDENT = "resident"  # full, on the device
    TAIL = "tail"  # being filled, on the device
    RING = "ring"  # of the staging ring
    HOST = "host"  # on the host


class Owner(NamedTuple):
    """Who holds a page; the ring belongs to nobody's layer."""

    use: Use
    request_id: int | None = None
    layer: int | None = None


RING = Owner(Use.RING)


class PageBook:
    """Ownership of `total` pages. `on_free` hears which pages became free."""

    def __init__(
        self,
        name: str,
        total: int,
        waits: Waits,
        wait: Wait,
        on_free: Callable[[Sequence[int]], object],
    ) -> None:
        self._name = name
        self._waits = waits
        self._wait = wait
        self._on_free = on_free
        self._is_free = np.ones(total, dtype=bool)
        self._owners: list[Owner | None] = [None] * total
        self._held: Counter[Use] = Counter()
        self._deferred: deque[tuple[tuple[Event, ...], list[int]]] = deque()
        self.total = total
        self.free = total

    @property
    def deferred(self) -> int:
        """Pages that are free once a copy is done."""
        return sum(len(pages) for _, pages in self._deferred)

    @property
    def held(self) -> int:
        """Pages with an owner."""
        return self._held.total()

    def used_for(self, use: Use) -> int:
        """Pages owned for one purpose."""
        return self._held[use]

    def take(self, count: int, owner: Owner, *, from_end: bool = False) -> list[int]:
        """Own `count` pages, in one run if there is one. Wait for deferred pages if need be.

        Raise a BackendError if there are not that many.
        """
        self.settle()
        while self.free < count and self._deferred:
            for event in self._deferred[0][0]:
                event.wait()
            self.settle()
        if self.free < count:
            raise BackendError(
                f"{count} {self._name} pages are wanted for {owner.use} and {self.free} of "
                f"{self.total} are free: the account and the pool disagree"
            )
        pages: list[int] = _choose(np.flatnonzero(self._is_free), count, from_end).tolist()
        self._is_free[pages] = False
        self.free -= count
        self._held[owner.use] += count
        for page in pages:
            assert self._owners[page] is None, f"page {page} belongs to {self._owners[page]}"
            self._owners[page] = owner
        return pages

    def hand_over(self, page: int, before: Owner, after: Owner) -> None:
        """Let a page change hands."""
        assert self._owners[page] == before, f"page {page} belongs to {self._owners[page]}"
        self._owners[page] = after
        self._held[before.use] -= 1
        self._held[after.use] += 1

    def give_back(self, pages: Sequence[int], owner: Owner, after: Iterable[Event] = ()) -> None:
        """Stop owning pages; they are free after the events."""
        for page in pages:
            assert self._owners[page] == owner, f"page {page} belongs to {self._owners[page]}"
            self._owners[page] = None
        self._held[owner.use] -= len(pages)
        if events := self._waits(self._wait, after):
            self._deferred.append((events, list(pages)))
        else:
            self._release(pages)

    def settle(self) -> None:
        """Free what the copies that are done by now have left."""
        waiting: deque[tuple[tuple[Event, ...], list[int]]] = deque()
        for events, pages in self._deferred:
            if all(event.is_done for event in events):
                self._release(pages)
            else:
                waiting.append((events, pages))
        self._deferred = waiting

    def check(self) -> None:
        """Raise a BackendError unless every page is free, owned or deferred, and just one of it."""
        deferred = [page for _, pages in self._deferred for page in pages]
        owned = [page for page, owner in enumerate(self._owners) if owner is not None]
        free = np.flatnonzero(self._is_free).tolist()
        uses = Counter(owner.use for owner in self._owners if owner is not None)
        if sorted(deferred + owned + free) != list(range(self.total)) or uses != +self._held:
            raise BackendError(
                f"{self._name} pages are not conserved: {len(free)} free, {len(owned)} owned and "
                f"{len(deferred)} deferred of {self.total}"
            )

    def _release(self, pages: Sequence[int]) -> None:
        if pages:
            self._is_free[list(pages)] = True
            self.free += len(pages)
            self._on_free(pages)


def _choose(free: IntArray, count: int, from_end: bool) -> IntArray:
    """The first (or last) run of `count` free pages, or just the first (last) ones."""
    if not count:
        return free[:0]
    starts = np.flatnonzero(free[count - 1 :] - free[: len(free) - count + 1] == count - 1)
    at = 0 if not from_end else len(free) - count
    if len(starts):
        at = int(starts[-1 if from_end else 0])
    return free[at : at + count]
