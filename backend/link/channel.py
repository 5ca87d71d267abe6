"""A FIFO channel that copies KV in one direction: a worker thread on a paced link.

The link has a virtual clock. A transfer of n bytes that could start at time r takes it from
max(clock, r) to that plus fixed + n / rate. It is copied in chunks, never more than `AHEAD_S`
before their time, and done at its end: a late wake-up is caught up with, the rate never exceeded.
Each sleep costs compute two hand-overs of the interpreter lock; one per 256 KiB slowed a small
model by a seventh. A worker that fails, fails every later transfer too. Up to 0.5 GB/s two cores
keep pace beside compute; torch copies release the interpreter lock, so a thread is enough.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch

from orbitflow.backend.clock import Clock
from orbitflow.backend.link.events import Event, Signal
from orbitflow.errors import BackendError

CHUNK_BYTES = 1024 * 1024
LEAST_BYTES = 64 * 1024
AHEAD_S = 0.003
DEFAULT_BYTES_PER_S = 0.4e9  # what two CPU cores keep up with while one of them computes


class Copy(NamedTuple):
    """One contiguous run. Both ends have the same shape and type."""

    source: torch.Tensor
    target: torch.Tensor


class LinkUse(NamedTuple):
    """What a channel did; `busy_s` is time spent on transfers."""

    transfers: int = 0
    copied_bytes: int = 0
    busy_s: float = 0.0


TransferSink = Callable[[str, float, float], object]  # label, start and end in seconds


class Channel(Protocol):
    """Copies in one direction, first come first served."""

    def submit(
        self, copies: Iterable[Copy], wait_for: Iterable[Event] = (), label: str = ""
    ) -> Event:
        """Queue one transfer that starts after the events. Its event happens when it is done.

        Raise a BackendError if the channel is closed or has failed.
        """

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued or under way."""

    def take_use(self) -> LinkUse:
        """What was done since the last call."""

    def drain(self) -> None:
        """Return when everything submitted is done; raise a BackendError if some of it failed."""

    def close(self) -> None:
        """End. What is still queued is not copied."""


def bytes_of(copies: Iterable[Copy]) -> int:
    """How much is copied."""
    return sum(copy.source.nbytes for copy in copies)


class PacedLink:
    """A link that takes its time. `bytes_per_s` None copies as fast as the machine can."""

    def __init__(self, clock: Clock, bytes_per_s: float | None, fixed_s: float = 0.0) -> None:
        self._clock = clock
        self._bytes_per_s = bytes_per_s
        self._fixed_s = fixed_s
        self._free_s = clock.now_s()
        self.latest_s = 0.0  # the most that the copying was ever behind the virtual clock

    def carry(self, copies: Iterable[Copy], ready_s: float) -> tuple[float, float]:
        """Copy what could have started at `ready_s`. Return start and end on the virtual clock."""
        clock, rate = self._clock, self._bytes_per_s
        start_s = max(self._free_s, ready_s)
        due_s = start_s + self._fixed_s
        for copy in copies:
            for source, target in _chunks(copy, rate):
                target.copy_(source)
                if rate is None:
                    continue
                due_s += source.nbytes / rate
                if due_s - clock.now_s() > AHEAD_S:
                    clock.sleep_until(due_s)
        if rate is not None:
            clock.sleep_until(due_s)
            self.latest_s = max(self.latest_s, clock.now_s() - due_s)
        self._free_s = clock.now_s() if rate is None else due_s
        return start_s, self._free_s


def _chunks(copy: Copy, rate: float | None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    most = CHUNK_BYTES if rate is None else min(CHUNK_BYTES, max(rate * AHEAD_S, LEAST_BYTES))
    size = int(most) // copy.source.element_size()
    source, target = copy.source.view(-1), copy.target.view(-1)
    for start in range(0, len(source), size):
        yield source[start : start + size], target[start : start + size]


@dataclass(slots=True)
class _Transfer:
    copies: tuple[Copy, ...]
    wait_for: tuple[Event, ...]
    label: str
    submitted_s: float
    done: Signal = field(init=False)

    def __post_init__(self) -> None:
        self.done = Signal(f"copy {self.label}".rstrip())


class WorkerChannel:
    """A channel of its own thread. `sink` hears of every transfer's start and end."""

    def __init__(
        self, name: str, link: PacedLink, clock: Clock, sink: TransferSink | None = None
    ) -> None:
        self._name = name
        self._link = link
        self._clock = clock
        self._sink = sink
        self._queue: queue.SimpleQueue[_Transfer | None] = queue.SimpleQueue()
        self._last: Signal | None = None
        self._error: BaseException | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._use = LinkUse()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(
        self, copies: Iterable[Copy], wait_for: Iterable[Event] = (), label: str = ""
    ) -> Event:
        """Queue one transfer."""
        if self._error is not None:
            raise BackendError(f"the {self._name} worker died: {self._error}") from self._error
        if self._closed:
            raise BackendError(f"the {self._name} channel is closed")
        transfer = _Transfer(
            tuple(copies), tuple(wait_for), f"{self._name} {label}".strip(), self._clock.now_s()
        )
        self._last = transfer.done
        self._queue.put(transfer)
        return transfer.done

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued or under way."""
        return self._last is None or self._last.is_done

    def take_use(self) -> LinkUse:
        """What was done since the last call."""
        with self._lock:
            use, self._use = self._use, LinkUse()
        return use

    @property
    def latest_s(self) -> float:
        """The most that the copying was ever behind the virtual clock."""
        return self._link.latest_s

    def drain(self) -> None:
        """Wait for the last transfer, and with it all."""
        if self._last is not None:
            self._last.wait()

    def close(self) -> None:
        """End the thread after the transfer under way; fail what is queued behind it."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._thread.join()

    def _work(self) -> None:
        torch.set_num_threads(1)  # OpenMP barriers beside a busy main thread cost too much
        while (transfer := self._queue.get()) is not None:
            if self._error is None and self._closed:
                self._error = BackendError("the channel was closed before its turn")
            if self._error is None:
                try:
                    self._carry(transfer)
                except BaseException as error:  # whatever it is, who waits must hear of it
                    self._error = error
            transfer.done.set(self._error)

    def _carry(self, transfer: _Transfer) -> None:
        ready_s = transfer.submitted_s
        if any(not event.is_done for event in transfer.wait_for):
            for event in transfer.wait_for:
                event.wait()
            ready_s = self._clock.now_s()
        start_s, end_s = self._link.carry(transfer.copies, ready_s)
        size = bytes_of(transfer.copies)
        with self._lock:
            count, copied, busy_s = self._use
            self._use = LinkUse(count + 1, copied + size, busy_s + end_s - start_s)
        if self._sink is not None:
            self._sink(transfer.label, start_s, end_s)
