"""The requests of a trace, handed out when they are due; one is read ahead, never the whole trace.

Times are those of the driver's clock. A request whose time is over is due at once, in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orbitflow.request import Request


class Arrivals:
    """What has yet to arrive."""

    def __init__(self, requests: Iterable[Request]) -> None:
        self._requests = iter(requests)
        self._next = next(self._requests, None)

    @property
    def next_s(self) -> float | None:
        """When the next request arrives; None if none does."""
        return None if self._next is None else self._next.arrival_s

    def is_due(self, now_s: float) -> bool:
        """Whether somebody has arrived who was not taken."""
        return self._next is not None and self._next.arrival_s <= now_s

    def take(self, now_s: float) -> Iterator[Request]:
        """Those who have arrived."""
        while self._next is not None and self._next.arrival_s <= now_s:
            request, self._next = self._next, next(self._requests, None)
            yield request
