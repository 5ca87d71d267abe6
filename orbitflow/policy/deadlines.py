"""Who is let in next: those who can still make their TTFT limit, by deadline; then the others.

    fresh:  now + prefill_r <= arrival_r + TTFT limit_r         earliest deadline first
    late:   everybody else                                      first come, first served

In overload first come first served would make all of them late alike. While all who wait are fresh,
the longest prompt goes first that makes no other miss its limit: behind those who are read to
already, it would make every one of them wait. So that nobody waits for
ever, of any EVERY admissions one is of whoever has waited longest, late or not: a request with j
older ones before it is let in after at most (j + 1) EVERY admissions. While it is its turn and it
does not fit, nobody else is let in; an empty server takes anybody, and the `door` does not wait for
that at any price. In overload each of these takes the room of one that could have been in time:
with one in 16 it was a tenth of the machine.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterator
from itertools import takewhile
from math import inf
from typing import NamedTuple

from orbitflow.engine.policy import View
from orbitflow.policy.orbit.deadlines import FairShare
from orbitflow.request import Request

EVERY = 64
MOST_TRIED = 8  # fresh requests that are tried where those before them do not fit
LOOKED_AT = 64  # fresh requests, by deadline, that are asked what they lose by a delay


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

    @property
    def prompt_s(self) -> float:
        """Its isolated prefill."""
        return self.due_s - self.starts_s


class Deadlines:
    """The order of admission. Looks at every request once, when it is new; books their fates."""

    def __init__(self, share: FairShare, *, every: int = EVERY) -> None:
        self._share = share
        self._every = every
        self._fresh: list[_Entry] = []  # by deadline
        self._known: set[int] = set()  # all that wait and have been looked at
        self._seen = 0
        self._passed_over = 0  # admissions since the last of the longest waiting
        self._missed = 0  # of the fresh, while it was the turn of the longest waiting

    def candidates(self, view: View, prefill_s: Callable[[int], float]) -> Iterator[Candidate]:
        """Whom to try, in this order; one after the other until one fits."""
        self._look(view, prefill_s)
        oldest = next(iter(view.waiting), None)
        if oldest is None:
            return
        if self.is_turn_of_oldest:
            entry = next((entry for entry in self._fresh if entry.request.id == oldest.id), None)
            yield Candidate(oldest, None if entry is None else entry.starts_s)
            return
        for entry in self._in_order(view.now_s):
            yield Candidate(entry.request, entry.starts_s)
        if not self._fresh:
            yield Candidate(oldest, None)

    @property
    def is_turn_of_oldest(self) -> bool:
        """Whether nobody else is let in."""
        return self._passed_over >= self._every - 1

    @property
    def missed(self) -> int:
        """How many have missed their limits since it is the turn of the longest waiting."""
        return self._missed

    @property
    def keeps_up(self) -> bool:
        """Whether all who wait can still make their limits, each for itself."""
        return len(self._fresh) == len(self._known)

    def slack_s(self, now_s: float) -> float:
        """Seconds until one of the fresh misses its limit, if all of them are let in one after
        another by deadline; negative where one does already.
        """
        least_s = inf
        for entry in self._fresh[:LOOKED_AT]:
            least_s = min(least_s, entry.starts_s - now_s)
            now_s += entry.prompt_s
        return least_s

    def admitted(self, request: Request, *, is_oldest: bool) -> None:
        """One of them was let in."""
        self._passed_over = 0 if is_oldest else self._passed_over + 1
        self._missed = 0
        self._known.discard(request.id)
        others = [entry for entry in self._fresh if entry.request.id != request.id]
        if len(others) < len(self._fresh):
            self._share.book(request.prompt_tokens, in_time=True)
        self._fresh = others

    def _in_order(self, now_s: float) -> list[_Entry]:
        """The fresh that are tried, in this order."""
        tried = self._fresh[:MOST_TRIED]
        if len(tried) < 2 or not self.keeps_up:
            return tried
        longest = sorted(tried, key=lambda entry: -entry.prompt_s)
        harmless = [entry for entry in longest if self._harms_nobody(entry, now_s)]
        return harmless + [entry for entry in tried if entry not in harmless]

    def _harms_nobody(self, first: _Entry, now_s: float) -> bool:
        """Whether no other misses its limit that would make it if this one did not go first."""
        others = [entry for entry in self._fresh[:LOOKED_AT] if entry is not first]
        return _made(others, now_s + first.prompt_s) == _made(others, now_s)

    def _look(self, view: View, prefill_s: Callable[[int], float]) -> None:
        """Take note of new arrivals, and strike off who cannot make it any more."""
        new = list(takewhile(lambda r: r.id not in self._known, reversed(view.waiting)))
        for request in reversed(new):
            self._known.add(request.id)
            due_s = request.arrival_s + view.ttft_of(request)
            starts_s = due_s - prefill_s(request.prompt_tokens)
            insort(self._fresh, _Entry(due_s, starts_s, self._seen, request))
            self._seen += 1
        in_time = []
        for entry in self._fresh:
            if entry.starts_s >= view.now_s:
                in_time.append(entry)
            else:
                self._share.book(entry.request.prompt_tokens, in_time=False)
        if self.is_turn_of_oldest:
            self._missed += len(self._fresh) - len(in_time)
        self._fresh = in_time


def _made(entries: list[_Entry], now_s: float) -> int:
    """How many make their limits if those who can are let in one after another from now on."""
    made = 0
    for entry in entries:
        if entry.starts_s >= now_s:
            now_s += entry.prompt_s
            made += 1
    return made
