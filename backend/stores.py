"""Stores: what goes from the device to the host, each full page once and in order.

A store waits until compute has written its page. That is enough also where a slot held a parked
tail before: compute waited for the load of that tail first. Pages that a prompt fills in a host
layer go straight from the new K and V, so that they need no device pages.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from orbitflow.backend.kv.layers import LayerKv

from orbitflow.backend.kv.plane import Plane
from orbitflow.backend.kv.pool import page_copies
from orbitflow.backend.link.channel import Copy, bytes_of
from orbitflow.backend.link.events import Event, Wait


class Stores:
    """Everything that is sent down. `sent_bytes` counts it."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self.sent_bytes = 0

    def pages(self, kv: LayerKv, pages: Sequence[int]) -> Event:
        """Store device pages that are the next full ones."""
        slots = kv.slots[kv.stored : kv.stored + len(pages)]
        event = self._send(kv, pages, slots)
        kv.note_store(len(pages), event)
        return event

    def tail(self, kv: LayerKv) -> Event:
        """Store the tail page in the slot behind the full ones."""
        assert kv.tail is not None
        kv.tail_stored = self._send(kv, [kv.tail], [kv.slots[kv.full]])
        return kv.tail_stored

    def slabs(self, kv: LayerKv, k: torch.Tensor, v: torch.Tensor) -> None:
        """Store full pages of new K and V, shape (pages, page_tokens, kv_heads, head_dim)."""
        copies = []
        slots = kv.slots[kv.stored : kv.stored + len(k)]
        for index, slot in enumerate(slots):
            page = self._plane.host.page(slot)
            copies += [Copy(k[index], page[0]), Copy(v[index], page[1])]
        kv.note_store(len(k), self._submit(kv, copies))

    def _send(self, kv: LayerKv, pages: Sequence[int], slots: Sequence[int]) -> Event:
        device, host = self._plane.device.storage, self._plane.host.storage
        return self._submit(kv, list(page_copies(device, host, zip(pages, slots, strict=True))))

    def _submit(self, kv: LayerKv, copies: list[Copy]) -> Event:
        waits = self._plane.waits
        wait_for = waits(Wait.WRITTEN, [self._plane.compute.record()])
        self.sent_bytes += bytes_of(copies)
        return self._plane.down.submit(copies, wait_for, f"layer {kv.layer}")
