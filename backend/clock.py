"""The driver's clock: seconds since the run began, and a sleep that a ring ends early.

What ends a sleep is a due arrival, a finished plan or Ctrl-C. A ring is never lost: one that comes
while nobody sleeps ends the next sleep at once. `SimpleQueue.put` may be called from any thread and
from within a signal handler; `threading.Event.set` could deadlock there.
"""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import Protocol

_LONGEST_SLEEP_S = 3600.0  # locks take no endless time-outs; who wakes too soon sleeps again


class Alarm(Protocol):
    """A clock that can be slept on."""

    def start(self) -> None:
        """Let it go, from zero on."""
        ...

    def now_s(self) -> float:
        """Seconds since the start; any thread may ask."""
        ...

    def ring(self) -> None:
        """Wake whoever sleeps; from any thread or signal handler."""
        ...

    def sleep(self, until_s: float | None) -> None:
        """Return at that time (None: never) or at a ring, maybe sooner."""
        ...


class AlarmClock:
    """An alarm on real time, and a `Clock` for the executor. One thread sleeps on it.

    It stands at zero until it is started, so whoever reads it before never sees it go back.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = WallClock() if clock is None else clock
        self._zero_s: float | None = None
        self._rings: SimpleQueue[None] = SimpleQueue()

    def start(self) -> None:
        """Let it go, from zero on."""
        assert self._zero_s is None, "a clock is started once"
        self._zero_s = self._clock.now_s()

    def now_s(self) -> float:
        """Seconds since the start."""
        return 0.0 if self._zero_s is None else self._clock.now_s() - self._zero_s

    def sleep_until(self, due_s: float) -> None:
        """Sleep, whoever rings."""
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
