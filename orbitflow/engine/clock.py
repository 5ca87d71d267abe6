"""When tokens came out, stored once for the whole batch instead of once per token and request.

Every running request gets one token per decode pass, so the end times of the passes, kept in one
array, are the token times of all of them: a request that ran through passes [a, b) has the times
``clock[a:b]``. A request that was parked has several such spans. Only what unfinished requests
still need is kept.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from orbitflow.arrays import FloatArray


class PassClock:
    """End times of the decode passes, addressed by pass number; forgets what nobody needs."""

    __slots__ = ("_first", "_oldest_needed", "_times", "passes")

    def __init__(self, oldest_needed: Callable[[], int], capacity: int = 1 << 15) -> None:
        self._times = np.empty(capacity)
        self._first = 0  # number of the pass at _times[0]
        self._oldest_needed = oldest_needed
        self.passes = 0  # passes recorded so far, the number of the next one

    def append(self, end_s: FloatArray) -> None:
        """Record the end times of the next passes, in seconds."""
        at = self.passes - self._first
        count = len(end_s)
        if at + count > len(self._times):
            self._make_room(count)
            at = self.passes - self._first
        self._times[at : at + count] = end_s
        self.passes += count

    def between(self, start: int, stop: int) -> FloatArray:
        """End times of the passes start..stop-1 (a view: copy it before the next append)."""
        assert self._first <= start <= stop <= self.passes, (
            "token times asked for that were forgotten"
        )
        return self._times[start - self._first : stop - self._first]

    def _make_room(self, count: int) -> None:
        keep_from = min(max(self._oldest_needed(), self._first), self.passes)
        kept = self.between(keep_from, self.passes).copy()
        if 2 * (len(kept) + count) > len(self._times):
            self._times = np.empty(4 * (len(kept) + count))
        self._times[: len(kept)] = kept
        self._first = keep_from
