"""New tokens go into tail pages; a tail page that is full becomes one of the full pages.

Full, in a layer on the device, it stays where it is; in a layer on the host it is free once it is
stored. Either way it is stored if the request has host slots (write-through).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from orbitflow.backend.kv.layers import LayerKv

from orbitflow.backend.kv.plane import Plane
from orbitflow.backend.kv.pool import runs


class Tails:
    """Writes K and V."""

    def __init__(self, plane: Plane, stores: Stores) -> None:
        self._plane = plane
        self._stores = stores
        self._page_tokens = plane.shape.page_tokens

    def append(self, layers: Sequence[LayerKv], k: torch.Tensor, v: torch.Tensor) -> None:
        """Write one token of each request, shape (requests, kv_heads, head_dim)."""
        storage = self._plane.device.storage
        places = [self._place(kv) for kv in layers]
        where = torch.tensor(places)
        if storage.is_cuda:  # without waiting for the device
            where = where.pin_memory().to(storage.device, non_blocking=True)
        pages, rows = where.reshape(-1, 2).unbind(1)

        def write() -> None:
            storage[pages, 0, rows] = k
            storage[pages, 1, rows] = v

        self._plane.compute.run(write)

    def extend(self, kv: LayerKv, k: torch.Tensor, v: torch.Tensor) -> None:
        """Write a piece of a prompt, shape (tokens, kv_heads, head_dim)."""
        at = 0
        if kv.tail_tokens:
            at = self._fill(kv, k, v)
        whole = (len(k) - at) // self._page_tokens
        if whole:
            until = at + whole * self._page_tokens
            paged = (whole, self._page_tokens, *k.shape[1:])
            put = self._stores.slabs if kv.streams else self._keep
            put(kv, k[at:until].reshape(paged), v[at:until].reshape(paged))
            kv.full += whole
            kv.tokens += until - at
            at = until
        if at < len(k):
            self._fill(kv, k[at:], v[at:])

    def _keep(self, kv: LayerKv, k: torch.Tensor, v: torch.Tensor) -> None:
        """Write full pages, (pages, page_tokens, kv_heads, head_dim), and store them at once."""
        storage = self._plane.device.storage
        pages = self._plane.device.book.take(len(k), kv.owner)

        def write() -> None:
            at = 0
            for first, count in runs(pages):
                storage[first : first + count, 0] = k[at : at + count]
                storage[first : first + count, 1] = v[at : at + count]
                at += count

        self._plane.compute.run(write)
        (kv.resident if kv.arriving is None else kv.arriving).extend(pages)
        if kv.slots:
            self._stores.pages(kv, pages)

    def close(self, kv: LayerKv) -> None:
        """Let a tail page that is full be a full page."""
        if kv.tail is None or kv.tail_tokens < self._page_tokens:
            return
        book, page = self._plane.device.book, kv.tail
        stored = [self._stores.pages(kv, [page])] if kv.slots else []
        if kv.streams:
            book.give_back([page], kv.tail_owner, stored)
        else:
            book.hand_over(page, kv.tail_owner, kv.owner)
            (kv.resident if kv.arriving is None else kv.arriving).append(page)
        kv.full += 1
        kv.tail, kv.tail_tokens = None, 0

    def _fill(self, kv: LayerKv, k: torch.Tensor, v: torch.Tensor) -> int:
        """Write as many tokens as the tail page takes; how many that were."""
        if kv.tail is None:
            self._open(kv)
        assert kv.tail is not None
        start, page = kv.tail_tokens, self._plane.device.page(kv.tail)
        count = min(len(k), self._page_tokens - start)

        def write() -> None:
            page[0, start : start + count] = k[:count]
            page[1, start : start + count] = v[:count]

        self._plane.compute.run(write)
        kv.tail_tokens += count
        kv.tokens += count
        self.close(kv)
        return count

    def _place(self, kv: LayerKv) -> tuple[int, int]:
        """Page and row of a layer's next token."""
        if kv.tail is None:
            self._open(kv)
        assert kv.tail is not None
        kv.tail_tokens += 1
        kv.tokens += 1
        return kv.tail, kv.tail_tokens - 1

    def _open(self, kv: LayerKv) -> None:
        (kv.tail,) = self._plane.device.book.take(1, kv.tail_owner)
