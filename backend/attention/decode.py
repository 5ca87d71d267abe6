"""Attention of a decode batch in one layer: request by request, or all at once from the pages.

    loop    for each request: join its pages, then the reference        any device, exact on a CPU
    paged   paged_decode_attention(q, storage, table of the layer, contexts)     a GPU, one launch

A table names the pages of each request in order. In a layer on the device they change only when a
page was filled; staged pages change with every pass. So each layer keeps its table on the device
and sends it again, pinned and without waiting, only when its pages have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from orbitflow.backend.attention.reference import Scratch, Segment, decode_attention
from orbitflow.backend.kv.store import KvStore

WIDTH_PAGES = 16  # tables are as wide as a multiple of this, so that few kernels are compiled

Segments = Callable[[int, int], list[Segment]]  # request, layer: KV of all its tokens, in order


class DecodeAttention(Protocol):
    """Attends with one new token of each request. Its K and V are written already."""

    def begin_pass(self, request_ids: Sequence[int], positions: Tensor) -> None:
        """Set the batch and the position of each new token, shape (B,)."""

    def __call__(self, layer: int, q: Tensor) -> Tensor:
        """Attend with `q` [B, H, d]; return the same shape."""


class LoopAttention:
    """Attends request by request, so no result depends on another request."""

    def __init__(self, segments: Segments, scratch: Scratch) -> None:
        self._segments = segments
        self._scratch = scratch
        self._ids: Sequence[int] = ()

    def begin_pass(self, request_ids: Sequence[int], positions: Tensor) -> None:
        """Set the batch."""
        self._ids = request_ids

    def __call__(self, layer: int, q: Tensor) -> Tensor:
        """Attend one by one."""
        attended = [
            decode_attention(row, self._segments(request_id, layer), self._scratch)
            for row, request_id in zip(q.unbind(), self._ids, strict=True)
        ]
        return torch.stack(attended)


class PagedAttention:
    """The whole batch in one kernel, which finds the pages itself."""

    def __init__(self, store: KvStore, storage: Tensor) -> None:
        from orbitflow.backend.attention.triton_paged import paged_decode_attention

        self._kernel = paged_decode_attention
        self._store = store
        self._storage = storage
        self._tables = PageTables(storage.device)
        self._ids: Sequence[int] = ()
        self._contexts = torch.empty(0, dtype=torch.int32)

    def begin_pass(self, request_ids: Sequence[int], positions: Tensor) -> None:
        """Set the batch. All layers have the same contexts, the new token included."""
        self._ids = request_ids
        self._contexts = (positions + 1).to(torch.int32)

    def __call__(self, layer: int, q: Tensor) -> Tensor:
        """Attend with all of them."""
        pages = [self._store.read(request_id, layer).pages for request_id in self._ids]
        return self._kernel(q, self._storage, self._tables.of(layer, pages), self._contexts)


class _Table(NamedTuple):
    """A table and the pages that it was made of."""

    pages: list[tuple[int, ...]]
    on_device: Tensor


class PageTables:
    """The tables of all layers, on the device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._made: dict[int, _Table] = {}

    def of(self, layer: int, pages: list[tuple[int, ...]]) -> Tensor:
        """The table [B, width] of a layer, int32. Rows are filled up with page 0."""
        made = self._made.get(layer)
        if made is None or made.pages != pages:
            made = self._made[layer] = _Table(pages, self._send(pages))
        return made.on_device

    def _send(self, pages: list[tuple[int, ...]]) -> Tensor:
        width = -(-max(map(len, pages)) // WIDTH_PAGES) * WIDTH_PAGES
        rows = np.zeros((len(pages), width), dtype=np.int32)
        for row, numbers in zip(rows, pages, strict=True):
            row[: len(numbers)] = numbers
        table = torch.from_numpy(rows)
        if self._device.type != "cuda":
            return table
        return table.pin_memory().to(self._device, non_blocking=True)


def attention_for(
    store: KvStore, storage: Tensor, segments: Segments, scratch: Scratch, *, attends: bool
) -> DecodeAttention:
    """`PagedAttention` on a GPU with Triton, unless the CPU `attends` to a part; else the loop."""
    if storage.is_cuda and not attends and find_spec("triton") is not None:
        return PagedAttention(store, storage)
    return LoopAttention(segments, scratch)
