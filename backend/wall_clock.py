"""Real time: the one module of the drivers that reads a clock.

Everything else takes a `Clock` as an argument, so tests run on a clock that they turn by hand.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds since some fixed moment."""

    def now_s(self) -> float:
        """The time."""

    def sleep_until(self, due_s: float) -> None:
        """Return at `due_s`, or at once if that is over."""


class WallClock:
    """The machine's own clock; it never goes back."""

    def now_s(self) -> float:
        """Seconds since some fixed moment."""
        return time.perf_counter()

    def sleep_until(self, due_s: float) -> None:
        """Sleep, unless it is later already."""
        left_s = due_s - time.perf_counter()
        if left_s > 0:
            time.sleep(left_s)
