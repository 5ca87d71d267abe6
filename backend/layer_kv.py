"""Where the KV of one (request, layer) is: full pages on either side of the link, the tail on the
device.

    tokens = page_tokens * full pages + tail tokens

A full page never changes. Of a layer on the host the full pages are host slots 0, 1, ...; of one on
the device they are `resident`, and their slots hold a copy if the policy writes through. The tail
page is on the device, except while its request is parked: then it is in the next host slot.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from orbitflow.backend.kv.pages import Owner, Use
from orbitflow.backend.link.events import DONE, Event, pending


@dataclass(slots=True, eq=False)
class LayerKv:
    """KV of one request in one layer."""

    request_id: int
    layer: int
    on_host: bool = False
    tokens: int = 0
    full: int = 0  # full pages
    resident: list[int] = field(default_factory=list)  # device pages of the full ones
    arriving: list[int] | None = None  # device pages that a promotion or a load fills
    arrived: Event = DONE
    tail: int | None = None  # device page
    tail_tokens: int = 0
    slots: list[int] = field(default_factory=list)  # host page of each page, reserved
    stored: int = 0  # full pages that are in their slots, or on their way
    storing: list[Event] = field(default_factory=list)  # the copies under way
    tail_stored: Event | None = None  # while parked
    reads: list[Event] = field(default_factory=list)  # copies that read the slots

    @property
    def owner(self) -> Owner:
        """Owner of the full pages on the device."""
        return Owner(Use.RESIDENT, self.request_id, self.layer)

    @property
    def tail_owner(self) -> Owner:
        """Owner of the tail page."""
        return Owner(Use.TAIL, self.request_id, self.layer)

    @property
    def host_owner(self) -> Owner:
        """Owner of the slots."""
        return Owner(Use.HOST, self.request_id, self.layer)

    @property
    def streams(self) -> bool:
        """Whether its full pages are used through the ring."""
        return self.on_host and self.arriving is None

    def note_store(self, pages: int, event: Event) -> None:
        """The next full pages are in their slots when the event happens."""
        self.stored += pages
        self.storing = [*pending(self.storing), event]

    def note_read(self, event: Event) -> None:
        """A copy reads the slots until this event."""
        self.reads = [*pending(self.reads), event]

    def copies_of_slots(self) -> list[Event]:
        """Copies that write or read the slots."""
        tail = [] if self.tail_stored is None else [self.tail_stored]
        return [*self.storing, *tail, *self.reads]


@dataclass(slots=True, eq=False)
class RequestKv:
    """KV of one request; `pages` is what a layer holds at the request's end."""

    id: int
    pages: int
    layers: list[LayerKv]
    is_parked: bool = False
