"""Channels without time, for tests: a copy takes effect as late, or as early, as is legal.

late     nothing moves until somebody waits for it: who forgets to wait reads old bytes
early    it moves as soon as its own waits allow: who forgets a wait moves, or overwrites, too soon
manual   it moves when the test says so; who waits asks `mover` to move something, of either
         direction; where there is no mover, or nothing may move, that is a deadlock and raises

All are deterministic and first come first served.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from enum import StrEnum

from orbitflow.backend.link.channel import Copy, LinkUse, bytes_of
from orbitflow.backend.link.events import Event

from orbitflow.errors import BackendError


class LinkMode(StrEnum):
    """When a copy takes effect."""

    PACED = "paced"
    LATE = "late"
    EARLY = "early"
    MANUAL = "manual"


class _Ticket:
    """A transfer that is also its own event."""

    __slots__ = ("_channel", "copies", "has_moved", "label", "wait_for")

    def __init__(
        self,
        channel: SteppedChannel,
        copies: tuple[Copy, ...],
        wait_for: tuple[Event, ...],
        label: str,
    ) -> None:
        self._channel = channel
        self.copies = copies
        self.wait_for = wait_for
        self.label = label
        self.has_moved = False

    @property
    def is_done(self) -> bool:
        self._channel.advance()
        return self.has_moved

    def wait(self) -> None:
        self._channel.finish(self)


class SteppedChannel:
    """A channel on the caller's thread."""

    def __init__(self, name: str, mode: LinkMode) -> None:
        self._name = name
        self._mode = mode
        self._queue: deque[_Ticket] = deque()
        self._forcing = False
        self._use = LinkUse()
        self.mover: Callable[[], bool] | None = None  # whether it moved anything

    def submit(
        self, copies: Iterable[Copy], wait_for: Iterable[Event] = (), label: str = ""
    ) -> Event:
        """Queue one transfer."""
        ticket = _Ticket(self, tuple(copies), tuple(wait_for), f"{self._name} {label}".strip())
        self._queue.append(ticket)
        self.advance()
        return ticket

    def move_next(self) -> bool:
        """Let the oldest transfer take effect if its waits are over; whether it did."""
        if not self._queue or not all(event.is_done for event in self._queue[0].wait_for):
            return False
        self._move()
        return True

    def advance(self) -> None:
        """Move whatever may move by itself."""
        if self._mode is LinkMode.EARLY and not self._forcing:
            self._forcing = True  # asking an event may lead back here
            try:
                while self.move_next():
                    pass
            finally:
                self._forcing = False

    def finish(self, ticket: _Ticket) -> None:
        """Move everything up to a transfer."""
        if ticket.has_moved:
            return
        if self._mode is LinkMode.MANUAL:
            self._have_moved(ticket)
            return
        if self._forcing:
            raise BackendError(f"{ticket.label} waits for itself: a deadlock")
        self._forcing = True
        try:
            while not ticket.has_moved:
                for event in self._queue[0].wait_for:
                    event.wait()
                self._move()
        finally:
            self._forcing = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued."""
        self.advance()
        return not self._queue

    def take_use(self) -> LinkUse:
        """What was done since the last call."""
        use, self._use = self._use, LinkUse()
        return use

    def drain(self) -> None:
        """Move everything."""
        if self._queue:
            self._queue[-1].wait()

    def close(self) -> None:
        """Forget what is queued."""
        self._queue.clear()

    def _have_moved(self, ticket: _Ticket) -> None:
        """Have somebody move things until a transfer is done."""
        while not ticket.has_moved:
            if self.mover is None or not self.mover():
                raise BackendError(f"{ticket.label} is waited for and nobody moves it")

    def _move(self) -> None:
        ticket = self._queue.popleft()
        for source, target in ticket.copies:
            target.copy_(source)
        ticket.has_moved = True
        count, copied, _ = self._use
        self._use = LinkUse(count + 1, copied + bytes_of(ticket.copies))
