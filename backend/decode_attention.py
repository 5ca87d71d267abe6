"""Attention of a decode batch in one layer: request by request, or all at once from the pages.

    loop    for each request: join its pages, then the reference        any device, exact on a CPU
    paged   paged_decode_attention(q, storage, table of the layer, contexts)     a GPU, one launch

A table names the pages of each request in order. Those of a layer on the device change only where a
page was filled, those that are staged with every pass; so each layer keeps its table on the device,
and sends it again, pinned and without waiting, only where the pages are not those it was made of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import NamedTuple, Protocol

import numpy as np
import torch
from orbitflow.backend.attention.reference import Scratch, Segment, decode_attention
from orbitflow.backend.kv.store import KvStore
from torch import Tensor

WIDTH_PAGES = 16  # tables are as wide as a multiple of this, so that few kernels are compiled

Segments = Callable[[int, int], list[Segment]]  # request, layer: KV of all its tokens, in order


class DecodeAttention(Protocol):
    """Attends with one new token of each request, whose K and V are written already."""

    def begin_pass(self, request_ids: Sequence[int], positions: Tensor) -> None:
        """Say who decodes, and where each new token is."""

    def __call__(self, layer: int, q: Tensor) -> Tensor:
        """Return what `q` [B, H, d] attends to, of the same shape."""


class LoopAttention:
    """Request by request: no request's result depends on another's."""

    def __init__(self, segments: Segments, scratch: Scratch) -> None:
        self._segments = segments
        self._scratch = scratch
        self._ids: Sequence[int] = ()

    def begin_pass(self, request_ids: Sequence[int], positions: Tensor) -> None:
        """Remember who decodes."""
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
        """Contexts, the new token included, are alike in all layers."""
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
        """The table [B, width] of a layer, int32; what follows a request's pages is page 0."""
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
    """Paged on a GPU with Triton, unless the CPU `attends` to a part; the loop everywhere else."""
    if storage.is_cuda and not attends and find_spec("triton") is not None:
        return PagedAttention(store, storage)
    return LoopAttention(segments, scratch)
