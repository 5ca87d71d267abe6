"""Compute that lags behind its host, as a GPU does: work is done only when somebody waits for it.

A copy that does not wait for compute then reads or overwrites too soon, on a CPU as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from orbitflow.backend.link.events import Event


class LaggingCompute:
    """Compute that is behind until it is waited for."""

    def __init__(self) -> None:
        self._todo: deque[Callable[[], object]] = deque()
        self.done = 0
        self._appended = 0

    def run(self, work: Callable[[], object]) -> None:
        self._todo.append(work)
        self._appended += 1

    def wait(self, events: Iterable[Event]) -> None:
        waited = tuple(events)

        def wait() -> None:
            for event in waited:
                event.wait()

        self.run(wait)

    def record(self) -> Event:
        return _Reached(self, self._appended)

    def synchronize(self) -> None:
        self.work_until(self._appended)

    def take_stall_s(self) -> float:
        return 0.0

    def work_until(self, number: int) -> None:
        while self.done < number:
            self._todo.popleft()()
            self.done += 1


@dataclass(frozen=True)
class _Reached:
    compute: LaggingCompute
    number: int

    @property
    def is_done(self) -> bool:
        return self.compute.done >= self.number

    def wait(self) -> None:
        self.compute.work_until(self.number)
