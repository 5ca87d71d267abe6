"""Every wait of the data plane in one list, with the corruption that it prevents.

A KV data plane is right iff each copy and each kernel starts after whatever it depends on. All such
waits pass through one `Waits`, so that a test can switch each off and see the wrong numbers come
out: a wait whose absence nothing notices is not tested. The races are those that production engines
shipped (vLLM issues 45704, 47282, 29608, 50696; TensorRT-LLM 15546).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from orbitflow.backend.link.events import Event, pending


class Wait(StrEnum):
    """What is waited for, and who would read or overwrite what otherwise."""

    WRITTEN = "written"  # a store reads a page before compute has written it
    CONSUMED = "consumed"  # a load overwrites a page that attention still reads
    LOADED = "loaded"  # attention reads a page before its load is done
    STORED = "stored"  # a load reads a host page before its store is done
    READ = "read"  # a host page gets a new owner while a copy still uses it
    FREED = "freed"  # a device page gets a new owner while a copy still uses it
    COUNTED = "counted"  # attention uses fewer tokens than there are (a check, not a wait)


@dataclass(frozen=True, slots=True)
class Waits:
    """All waits but those switched off, which only tests do."""

    off: frozenset[Wait] = frozenset()

    def __call__(self, wait: Wait, events: Iterable[Event]) -> tuple[Event, ...]:
        """The events that have not happened yet and must be waited for."""
        return () if wait in self.off else pending(events)

    def is_on(self, wait: Wait) -> bool:
        """Whether a wait, or check, is in force."""
        return wait not in self.off
