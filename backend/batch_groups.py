"""What the batch has on the host in each layer, now and in the passes to come.

A request with b tokens behind it at the start has, j passes later, floor((b + j) / page_tokens)
full pages; in a layer on the host these are its part of the group. A layer that is being promoted
is loaded once, in the first pass, into pages of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orbitflow.backend.kv.layers import GroupPart, LayerKv, RequestKv

from orbitflow.backend.link.events import Event, pending
from orbitflow.errors import PolicyError


class BatchGroups:
    """Groups of a batch that stays the same."""

    def __init__(self, page_tokens: int, requests: Mapping[int, RequestKv], attends: bool) -> None:
        self._page_tokens = page_tokens
        self._requests = requests
        self._attends = attends  # the CPU attends to what is on the host, so it does not travel
        self._batch: list[tuple[RequestKv, int]] = []

    def start(self, request_ids: Sequence[int]) -> None:
        """Begin with another batch, or with the same as it is now."""
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
        """The group of a layer; None if a page of it is not full yet."""
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
        """A part is on its way."""
        kv: LayerKv = self._requests[part.request_id].layers[layer]
        kv.note_read(loaded)
        if part.own is not None:
            kv.arrived = loaded

    def _full(self, behind: int, passes_ahead: int) -> int:
        return (behind + passes_ahead) // self._page_tokens
