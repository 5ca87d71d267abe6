"""Who is let in next: those who can still make their TTFT limit, by deadline; then the others.

    fresh:  now + prefill_r <= arrival_r + TTFT limit_r         earliest deadline first
    late:   everybody else                                      first come, first served

In overload first come first served would make all of them late alike. So that nobody waits for
ever, of any EVERY admissions one is of whoever has waited longest, late or not: a request with j
older ones before it is let in after at most (j + 1) EVERY admissions. While it is its turn and it
does not fit, nobody else is let in; an empty server takes anybody.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import NamedTuple

from orbitflow.policy.base import View
from orbitflow.request import Request

EVERY = 16
MOST_TRIED = 8  # fresh requests that are tried where those before them do not fit


class Candidate(NamedTuple):
    """A request that may be let in next."""

    request: Request
    starts_s: float | None  # the latest that makes its TTFT limit; None: it has missed it


class _Entry(NamedTuple):
    """A waiting request that was fresh when last looked at."""

    due_s: float
    starts_s: float  # the latest that makes it
    order: int  # of arrival
    request: Request


class Deadlines:
    """The order of admission. Looks at every request once, when it is new."""

    def __init__(self) -> None:
        self._fresh: list[_Entry] = []  # by deadline
        self._known: set[int] = set()  # all that wait and have been looked at
        self._seen = 0
        self._passed_over = 0  # admissions since the last of the longest waiting

    def candidates(self, view: View, prefill_s: Callable[[int], float]) -> Iterator[Candidate]:
        """Whom to try, in this order; one after the other until one fits."""
        self._look(view, prefill_s)
        oldest = next(iter(view.waiting), None)
        if oldest is None:
            return
        if self._passed_over >= EVERY - 1:
            entry = next((entry for entry in self._fresh if entry.request.id == oldest.id), None)
            yield Candidate(oldest, None if entry is None else entry.starts_s)
            return
        for entry in self._fresh[:MOST_TRIED]:
            yield Candidate(entry.request, entry.starts_s)
        if not self._fresh:
            yield Candidate(oldest, None)

    def admitted(self, request: Request, *, is_oldest: bool) -> None:
        """One of them was let in."""
        self._passed_over = 0 if is_oldest else self._passed_over + 1
        self._known.discard(request.id)
        self._fresh = [entry for entry in self._fresh if entry.request.id != request.id]

    def _look(self, view: View, prefill_s: Callable[[int], float]) -> None:
        """Take note of new arrivals, and strike off who cannot make it any more."""
        new = list(takewhile(lambda r: r.id not in self._known, reversed(view.waiting)))
        for request in reversed(new):
            self._known.add(request.id)
            due_s = request.arrival_s + view.ttft_of(request)
            starts_s = due_s - prefill_s(request.prompt_tokens)
            insort(self._fresh, _Entry(due_s, starts_s, self._seen, request))
            self._seen += 1
        self._fresh = [entry for entry in self._fresh if entry.starts_s >= view.now_s]
