"""Channels and compute on CUDA: streams and events instead of threads and signals.

A channel is a stream of its own, of the lowest priority, so that attention goes first; a transfer
waits on the device, never on the host, and each is timed by a pair of events. Compute is the
current stream. What a copy reads besides the pools is kept until it is done (`record_stream`). A
host pool that could not be pinned is copied from and to only after its waits, on the host: an
asynchronous copy of pageable memory may read it before the stream's waits are over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import torch

from orbitflow.backend.clock import Clock
from orbitflow.backend.link.channel import Copy, LinkUse, TransferSink, bytes_of
from orbitflow.backend.link.events import Event
from orbitflow.errors import BackendError


class CudaEvent:
    """An event on a stream."""

    __slots__ = ("raw",)

    def __init__(self, stream: torch.cuda.Stream, *, timed: bool = False) -> None:
        self.raw = torch.cuda.Event(enable_timing=timed)
        self.raw.record(stream)

    @property
    def is_done(self) -> bool:
        """Whether the stream has passed it."""
        return bool(self.raw.query())

    def wait(self) -> None:
        """Block the host."""
        self.raw.synchronize()

    def seconds_until(self, later: CudaEvent) -> float:
        """Time between two timed events, both passed."""
        return float(self.raw.elapsed_time(later.raw)) / 1000


def _wait_on(stream: torch.cuda.Stream, events: Iterable[Event]) -> None:
    for event in events:
        if isinstance(event, CudaEvent):
            stream.wait_event(event.raw)
        else:
            event.wait()


class CudaCompute:
    """The current stream of a device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stalls: list[tuple[CudaEvent, CudaEvent]] = []

    @property
    def _stream(self) -> torch.cuda.Stream:
        return torch.cuda.current_stream(self._device)

    def run(self, work: Callable[[], object]) -> None:
        """Launch it."""
        work()

    def wait(self, events: Iterable[Event]) -> None:
        """Let later launches wait on the device; note for how long."""
        waited = tuple(events)
        if waited:
            began = CudaEvent(self._stream, timed=True)
            _wait_on(self._stream, waited)
            self._stalls.append((began, CudaEvent(self._stream, timed=True)))

    def record(self) -> Event:
        """An event behind everything launched so far."""
        return CudaEvent(self._stream)

    def synchronize(self) -> None:
        """Block the host until the stream is empty."""
        self._stream.synchronize()

    def take_stall_s(self) -> float:
        """Seconds waited since the last call, of waits that are over."""
        over = [pair for pair in self._stalls if pair[1].is_done]
        self._stalls = [pair for pair in self._stalls if pair not in over]
        return sum(began.seconds_until(ended) for began, ended in over)


class CudaChannel:
    """A copy stream. `sink` hears of transfers when `take_use` finds them done."""

    def __init__(
        self,
        name: str,
        device: torch.device,
        clock: Clock,
        *,
        pinned: bool,
        sink: TransferSink | None = None,
    ) -> None:
        self._name = name
        self._device = device
        self._pinned = pinned
        self._sink = sink
        lowest = 0  # CUDA's priorities run from negative, the highest, to 0
        self._stream = torch.cuda.Stream(device, priority=lowest)
        self._timed: deque[tuple[str, CudaEvent, CudaEvent, int]] = deque()
        self._last: CudaEvent | None = None
        self._closed = False
        self._clock = clock
        self._zero: tuple[float, CudaEvent] | None = None  # the first transfer, on both clocks

    def submit(
        self, copies: Iterable[Copy], wait_for: Iterable[Event] = (), label: str = ""
    ) -> Event:
        """Queue one transfer."""
        if self._closed:
            raise BackendError(f"the {self._name} channel is closed")
        batch = tuple(copies)
        if self._zero is None:  # not before: the clock may not have been started
            self._zero = self._clock.now_s(), CudaEvent(self._stream, timed=True)
        _wait_on(self._stream, wait_for)
        if not self._pinned:
            self._stream.synchronize()
        with torch.cuda.stream(self._stream):
            began = CudaEvent(self._stream, timed=True)
            for source, target in batch:
                target.copy_(source, non_blocking=self._pinned)
                if source.is_cuda:
                    source.record_stream(self._stream)
            done = CudaEvent(self._stream, timed=True)
        self._timed.append((f"{self._name} {label}".strip(), began, done, bytes_of(batch)))
        self._last = done
        return done

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued or under way."""
        return self._last is None or self._last.is_done

    def take_use(self) -> LinkUse:
        """What was done since the last call."""
        use = LinkUse()
        while self._timed and self._timed[0][2].is_done:
            label, began, done, size = self._timed.popleft()
            spent_s = began.seconds_until(done)
            use = LinkUse(use.transfers + 1, use.copied_bytes + size, use.busy_s + spent_s)
            if self._sink is not None and self._zero is not None:
                zero_s, zero = self._zero
                start_s = zero_s + zero.seconds_until(began)
                self._sink(label, start_s, start_s + spent_s)
        return use

    def drain(self) -> None:
        """Block the host until everything submitted is done."""
        self._stream.synchronize()

    def close(self) -> None:
        """Take no more; what is queued still runs."""
        self._closed = True
