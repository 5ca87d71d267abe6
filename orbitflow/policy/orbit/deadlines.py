"""The order of admission: earliest deadline first, with ageing and a share for long prompts.

    in time:  now + prefill_r <= arrival_r + TTFT limit_r       earliest deadline first
    late:     everybody else                                    first come, first served

First come first served would, in overload, make everybody late alike. Three rules go beyond EDF:

* While all who wait are in time, the longest prompt goes first that makes no other miss its limit.
  Later it would delay every request that runs by then.
* Of any `every` admissions one is of the request that has waited longest, late or not. So a request
  with j older ones before it is admitted after at most (j + 1) `every` admissions. While it is its
  turn and it does not fit, nobody else is admitted (`admission` says for how long).
* The longest tenth of prompts is owed admission while

      in time(longest tenth) < fair_share in time(all)       over the last `fates` requests

  EDF counts requests, so it shuts out those that cost most wherever it cannot serve all.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from itertools import takewhile
from math import inf
from typing import NamedTuple

from orbitflow.engine.policy import View
from orbitflow.policy.orbit.options import DEFAULT, OrbitOptions
from orbitflow.request import Request


class NextRequest(NamedTuple):
    """A request that may be admitted next."""

    request: Request
    starts_s: float | None  # the latest start that makes its TTFT limit; None: it has missed it


class _Entry(NamedTuple):
    """A waiting request that is in time."""

    due_s: float
    starts_s: float  # the latest start that makes it
    order: int  # of arrival
    prompt_s: float  # its isolated prefill
    request: Request


class _Fate(NamedTuple):
    prompt_tokens: int
    in_time: bool


class FairShare:
    """Remembers which requests were admitted in time, by the length of their prompts."""

    def __init__(self, options: OrbitOptions = DEFAULT) -> None:
        self._options = options
        self._fates: deque[_Fate] = deque()
        self._prompts: list[int] = []  # of all of them, sorted
        self._in_time: list[int] = []  # of those in time, sorted

    def book(self, prompt_tokens: int, *, in_time: bool) -> None:
        """A request was admitted in time, or can no longer be."""
        if len(self._fates) == self._options.fates:
            oldest = self._fates.popleft()
            _remove(self._prompts, oldest.prompt_tokens)
            if oldest.in_time:
                _remove(self._in_time, oldest.prompt_tokens)
        self._fates.append(_Fate(prompt_tokens, in_time))
        insort(self._prompts, prompt_tokens)
        if in_time:
            insort(self._in_time, prompt_tokens)

    @property
    def least_owed(self) -> int | None:
        """Prompt tokens from which on requests get less than their share; None: nobody does."""
        options, prompts, in_time = self._options, self._prompts, self._in_time
        if len(prompts) < options.least_fates:
            return None
        least = prompts[int((1 - options.longest_share) * len(prompts))]
        longest = len(prompts) - bisect_left(prompts, least)
        made = len(in_time) - bisect_left(in_time, least)
        is_owed = made * len(prompts) < options.fair_share * len(in_time) * longest
        return least if is_owed else None

    def is_owed(self, prompt_tokens: int) -> bool:
        """Whether it is one of the longest, and these get less than their share."""
        least = self.least_owed
        return least is not None and prompt_tokens >= least


def _remove(sorted_values: list[int], value: int) -> None:
    del sorted_values[bisect_left(sorted_values, value)]


class Deadlines:
    """The order of admission. Looks at every request once, when it is new; books their fates."""

    def __init__(self, share: FairShare, options: OrbitOptions = DEFAULT) -> None:
        self._share = share
        self._options = options
        self._in_time: list[_Entry] = []  # by deadline
        self._starts: list[tuple[float, int]] = []  # heap of (latest start, id); stale ones as well
        self._by_id: dict[int, _Entry] = {}  # the same as `_in_time`
        self._known: set[int] = set()  # all that wait and have been looked at
        self._seen = 0
        self._passed_over = 0  # admissions since the last of the longest waiting
        self._missed = 0  # limits, while it was the turn of the longest waiting

    def candidates(self, view: View, prefill_s: Callable[[int], float]) -> Iterator[NextRequest]:
        """Requests to try in this order, one after the other until one fits."""
        self._look(view, prefill_s)
        oldest = next(iter(view.waiting), None)
        if oldest is None:
            return
        if self.is_turn_of_oldest:
            entry = self._by_id.get(oldest.id)
            yield NextRequest(oldest, None if entry is None else entry.starts_s)
            return
        for entry in self._in_order(view.now_s):
            yield NextRequest(entry.request, entry.starts_s)
        if not self._in_time:
            yield NextRequest(oldest, None)

    @property
    def is_turn_of_oldest(self) -> bool:
        """Whether nobody but the longest waiting is admitted."""
        return self._passed_over >= self._options.every - 1

    @property
    def missed(self) -> int:
        """How many have missed their limits since it is the turn of the longest waiting."""
        return self._missed

    @property
    def keeps_up(self) -> bool:
        """Whether all who wait are in time, each for itself."""
        return len(self._in_time) == len(self._known)

    def slack_s(self, now_s: float) -> float:
        """Seconds until one that is in time misses its limit, if all of them are admitted one after
        another by deadline; negative where one does already.
        """
        least_s = inf
        for _, starts_s, _, prompt_s, _ in self._in_time[: self._options.looked_at]:
            least_s = min(least_s, starts_s - now_s)
            now_s += prompt_s
        return least_s

    def admitted(self, request: Request, *, is_oldest: bool) -> None:
        """One of them was admitted."""
        self._passed_over = 0 if is_oldest else self._passed_over + 1
        self._missed = 0
        self._known.discard(request.id)
        if self._strike(request.id) is not None:
            self._share.book(request.prompt_tokens, in_time=True)

    def _in_order(self, now_s: float) -> list[_Entry]:
        """Those in time that are tried, in this order."""
        tried = self._in_time[: self._options.most_tried]
        if len(tried) < 2 or not self.keeps_up:
            return tried
        longest = sorted(tried, key=lambda entry: -entry.prompt_s)
        harmless = [entry for entry in longest if self._delays_nobody(entry, now_s)]
        return harmless + [entry for entry in tried if entry not in harmless]

    def _delays_nobody(self, first: _Entry, now_s: float) -> bool:
        """Whether no other misses its limit that would make it if this one did not go first."""
        others = [e for e in self._in_time[: self._options.looked_at] if e is not first]
        return _made(others, now_s + first.prompt_s) == _made(others, now_s)

    def _look(self, view: View, prefill_s: Callable[[int], float]) -> None:
        """Take note of new arrivals, and strike off who cannot make it any more."""
        new = list(takewhile(lambda r: r.id not in self._known, reversed(view.waiting)))
        for request in reversed(new):
            self._known.add(request.id)
            due_s = request.arrival_s + view.ttft_of(request)
            starts_s = due_s - prefill_s(request.prompt_tokens)
            entry = _Entry(due_s, starts_s, self._seen, due_s - starts_s, request)
            insort(self._in_time, entry)
            self._by_id[request.id] = entry
            heappush(self._starts, (starts_s, request.id))
            self._seen += 1
        missed = []
        while self._starts and self._starts[0][0] < view.now_s:
            if (struck := self._strike(heappop(self._starts)[1])) is not None:
                missed.append(struck)
        for entry in sorted(missed):
            self._share.book(entry.request.prompt_tokens, in_time=False)
        if self.is_turn_of_oldest:
            self._missed += len(missed)

    def _strike(self, request_id: int) -> _Entry | None:
        """Take one off those in time, if it is there."""
        entry = self._by_id.pop(request_id, None)
        if entry is not None:
            del self._in_time[bisect_left(self._in_time, entry)]
        return entry


def _made(entries: list[_Entry], now_s: float) -> int:
    """How many make their limits if those who can are admitted one after another from now on."""
    made = 0
    for _, starts_s, _, prompt_s, _ in entries:
        if starts_s >= now_s:
            now_s += prompt_s
            made += 1
    return made
