"""Where the KV of each (request, layer) is, and what a batch has on the host in each layer.

    tokens = page_tokens * full pages + tail tokens

A full page never changes. The full pages of a layer on the host are host slots 0, 1, ...; those of
a layer on the device are `resident`, and their slots hold a copy if the policy writes through. The
tail page is on the device, except while its request is paused: then it is in the next host slot.

The group of a layer is all that the batch has on the host in it. A request with b tokens at the
start of the batch has floor((b + j) / page_tokens) full pages in pass j. A layer that is being
promoted is loaded once, in the first pass, into pages of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from orbitflow.backend.kv.pages import Owner, Use
from orbitflow.backend.link.events import DONE, Event, pending
from orbitflow.errors import PolicyError


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
    stored: int = 0  # full pages in their slots, or being copied there
    storing: list[Event] = field(default_factory=list)  # the copies in flight
    tail_stored: Event | None = None  # while paused
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
        """Whether its full pages go through the ring."""
        return self.on_host and self.arriving is None

    def note_store(self, pages: int, event: Event) -> None:
        """Note that the next full pages are in their slots after the event."""
        self.stored += pages
        self.storing = [*pending(self.storing), event]

    def note_read(self, event: Event) -> None:
        """Note that a copy reads the slots until the event."""
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


class GroupPart(NamedTuple):
    """A request's part of a group: host pages, and device pages of its own if it is promoted."""

    request_id: int
    slots: Sequence[int]
    own: Sequence[int] | None
    stored: Sequence[Event]


class BatchGroups:
    """The groups of one batch."""

    def __init__(self, page_tokens: int, requests: Mapping[int, RequestKv], attends: bool) -> None:
        self._page_tokens = page_tokens
        self._requests = requests
        self._attends = attends  # the CPU attends to what is on the host, so it does not travel
        self._batch: list[tuple[RequestKv, int]] = []

    def start(self, request_ids: Sequence[int]) -> None:
        """Begin with this batch as it is now."""
        requests = [self._requests[request_id] for request_id in request_ids]
        self._batch = [(request, request.layers[0].tokens) for request in requests]

    def refuse_too_large(self, passes: int, ring_pages: int) -> None:
        """Raise a PolicyError if a group of the next passes exceeds the ring."""
        for rows in zip(*(request.layers for request, _ in self._batch), strict=True):
            size = sum(
                self._full(kv.tokens, passes - 1) for kv in rows if kv.streams and not self._attends
            )
            if size > ring_pages:
                raise PolicyError(
                    f"the host pages of layer {rows[0].layer} come to {size} within {passes} "
                    f"passes and exceed the ring of {ring_pages} pages: they could never be staged"
                )

    def parts(self, layer: int, passes_ahead: int) -> list[GroupPart] | None:
        """The group of a layer that many passes from the start; None if a page is not full yet."""
        parts: list[GroupPart] = []
        for request, behind in self._batch:
            kv, full = request.layers[layer], self._full(behind, passes_ahead)
            if not kv.on_host or not full or (kv.arriving is not None and passes_ahead):
                continue
            if self._attends and kv.arriving is None:
                continue
            if full > kv.stored:
                return None
            own = None if kv.arriving is None else kv.arriving[:full]
            parts.append(GroupPart(request.id, kv.slots[:full], own, pending(kv.storing)))
        return parts

    def loading(self, part: GroupPart, layer: int, loaded: Event) -> None:
        """Note that a part is being copied."""
        kv: LayerKv = self._requests[part.request_id].layers[layer]
        kv.note_read(loaded)
        if part.own is not None:
            kv.arrived = loaded

    def _full(self, behind: int, passes_ahead: int) -> int:
        return (behind + passes_ahead) // self._page_tokens
