"""Events, and every wait of the data plane in one list with the corruption that it prevents.

    written    compute wrote a page                     stores wait for it
    stored     a page is on the host                    loads of it wait, its device page is free
    loaded     a group is on the device                 compute waits for it
    consumed   compute is done with a page              loads over it wait

An event happens once and stays so. A wait that takes longer than the watchdog allows, and a wait
for work that failed, raise a BackendError: a run never hangs and never goes on with wrong KV.

A KV data plane is right if and only if each copy and each kernel starts after everything it depends
on. All such waits pass through one `Waits`, so that a test can switch each off and see wrong
numbers come out: a wait whose absence no test notices is not tested. The races are those that
production engines shipped (vLLM issues 45704, 47282, 29608, 50696; TensorRT-LLM 15546). The words
are those of vLLM's weight prefetcher and KV connectors.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from orbitflow.errors import BackendError

WATCHDOG_S = 600.0  # the slowest link that is allowed empties its queue in less


class Event(Protocol):
    """Something that happens once."""

    @property
    def is_done(self) -> bool:
        """Whether it has happened."""

    def wait(self) -> None:
        """Return when it has happened; raise a BackendError if it never will."""


class Happened:
    """An event that is over from the start."""

    is_done = True

    def wait(self) -> None:
        """Return at once."""


DONE = Happened()


class Signal:
    """An event that another thread brings about, or fails to."""

    __slots__ = ("_error", "_flag", "_name", "_watchdog_s")

    def __init__(self, name: str, watchdog_s: float = WATCHDOG_S) -> None:
        self._name = name
        self._watchdog_s = watchdog_s
        self._flag = threading.Event()
        self._error: BaseException | None = None

    def set(self, error: BaseException | None = None) -> None:
        """Let it happen; with an error, fail every wait for it."""
        self._error = error
        self._flag.set()

    @property
    def is_done(self) -> bool:
        """Whether it has happened. Failed work is never done; a wait for it raises the reason."""
        return self._flag.is_set() and self._error is None

    def wait(self) -> None:
        """Block until it has happened."""
        if not self._flag.wait(self._watchdog_s):
            raise BackendError(
                f"{self._name} did not end within {self._watchdog_s:g} s: the link is stuck"
            )
        if self._error is not None:
            raise BackendError(f"{self._name} failed: {self._error}") from self._error


def pending(events: Iterable[Event]) -> tuple[Event, ...]:
    """Those that have not happened yet, each once."""
    return tuple({id(event): event for event in events if not event.is_done}.values())


class Wait(StrEnum):
    """What is waited for, and what would be read or overwritten too early otherwise.

    The order numbers the races: WRITTEN prevents race 1, COUNTED race 7.
    """

    WRITTEN = "written"  # a store reads a page before compute has written it
    CONSUMED = "consumed"  # a load overwrites a page that attention still reads
    LOADED = "loaded"  # attention reads a page before its load is done
    STORED = "stored"  # a load reads a host page before its store is done
    READ = "read"  # a host page gets a new owner while a copy still uses it
    FREED = "freed"  # a device page gets a new owner while a copy still uses it
    COUNTED = "counted"  # attention uses fewer tokens than there are (a check, not a wait)


@dataclass(frozen=True, slots=True)
class Waits:
    """All waits but those in `off`. Only tests switch one off."""

    off: frozenset[Wait] = frozenset()

    def __call__(self, wait: Wait, events: Iterable[Event]) -> tuple[Event, ...]:
        """The events that have not happened yet and must be waited for."""
        return () if wait in self.off else pending(events)

    def is_on(self, wait: Wait) -> bool:
        """Whether a wait, or check, is in force."""
        return wait not in self.off
