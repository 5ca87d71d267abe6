"""The order in which compute happens, as far as KV is concerned.

Writes to pages, reads of them and waits for copies form one sequence; `record` gives an event that
happens when all before it has. On the CPU everything runs at once, in program order; on CUDA the
sequence is the current stream and the host runs ahead of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from orbitflow.backend.clock import Clock
from orbitflow.backend.link.events import DONE, Event


class Compute(Protocol):
    """One sequence of work on the device."""

    def run(self, work: Callable[[], object]) -> None:
        """Append work, such as writing a page."""

    def wait(self, events: Iterable[Event]) -> None:
        """Let what is appended from now on start after these events."""

    def record(self) -> Event:
        """An event that happens when all work appended so far is done."""

    def synchronize(self) -> None:
        """Return when all work is done."""

    def take_stall_s(self) -> float:
        """Seconds that compute waited for events since the last call."""


class EagerCompute:
    """Work is done when it is appended: the CPU."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stall_s = 0.0

    def run(self, work: Callable[[], object]) -> None:
        """Do it."""
        work()

    def wait(self, events: Iterable[Event]) -> None:
        """Wait here and now."""
        began_s = self._clock.now_s()
        for event in events:
            event.wait()
        self._stall_s += self._clock.now_s() - began_s

    def record(self) -> Event:
        """Everything is done already."""
        return DONE

    def synchronize(self) -> None:
        """Nothing is left to do."""

    def take_stall_s(self) -> float:
        """Seconds waited since the last call."""
        stall_s, self._stall_s = self._stall_s, 0.0
        return stall_s
