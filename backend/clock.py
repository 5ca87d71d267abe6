"""Clocks of the backend: the machine's own, and the driver's, which counts from the run's start.

This is the one module of the drivers that reads real time. Everything else takes a `Clock` as an
argument, so tests run on a clock that they turn by hand.

The driver sleeps on an `Alarm`. A due arrival, a finished plan or Ctrl-C ends the sleep. A ring is
never lost: if nobody sleeps, it ends the next sleep at once. Any thread and any signal handler may
call `SimpleQueue.put`; `threading.Event.set` could deadlock in a signal handler.
"""

from __future__ import annotations

import time
from queue import Empty, SimpleQueue
from typing import Protocol

_LONGEST_SLEEP_S = (
    3600.0  # locks take no endless time-outs; a driver that wakes too soon sleeps again
)


class Clock(Protocol):
    """Seconds since some fixed moment."""

    def now_s(self) -> float:
        """The time."""

    def sleep_until(self, due_s: float) -> None:
        """Return at `due_s`, or at once if that is past."""


class WallClock:
    """The machine's own clock. It never goes back."""

    def now_s(self) -> float:
        """Seconds since some fixed moment."""
        return time.perf_counter()

    def sleep_until(self, due_s: float) -> None:
        """Sleep until `due_s`."""
        left_s = due_s - time.perf_counter()
        if left_s > 0:
            time.sleep(left_s)


class Alarm(Protocol):
    """A clock to sleep on."""

    def start(self) -> None:
        """Start at zero."""
        ...

    def now_s(self) -> float:
        """Seconds since the start; any thread may ask."""
        ...

    def ring(self) -> None:
        """End the sleep. Any thread or signal handler may ring."""
        ...

    def sleep(self, until_s: float | None) -> None:
        """Return at that time (None: never) or at a ring. It may return sooner."""
        ...


class AlarmClock:
    """An alarm on real time, and a `Clock` for the executor. One thread sleeps on it.

    It stands at zero until it is started, so it never goes back.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = WallClock() if clock is None else clock
        self._zero_s: float | None = None
        self._rings: SimpleQueue[None] = SimpleQueue()

    def start(self) -> None:
        """Start at zero."""
        assert self._zero_s is None, "a clock is started once"
        self._zero_s = self._clock.now_s()

    def now_s(self) -> float:
        """Seconds since the start."""
        return 0.0 if self._zero_s is None else self._clock.now_s() - self._zero_s

    def sleep_until(self, due_s: float) -> None:
        """Sleep until that time. A ring does not end this sleep."""
        zero_s = self._clock.now_s() if self._zero_s is None else self._zero_s
        self._clock.sleep_until(zero_s + due_s)

    def ring(self) -> None:
        """End the sleep."""
        self._rings.put(None)

    def sleep(self, until_s: float | None) -> None:
        """Return at that time, at a ring, or after an hour."""
        left_s = _LONGEST_SLEEP_S if until_s is None else until_s - self.now_s()
        try:
            self._rings.get(timeout=min(max(left_s, 0.0), _LONGEST_SLEEP_S))
            while True:  # several rings end one sleep
                self._rings.get_nowait()
        except Empty:
            pass
