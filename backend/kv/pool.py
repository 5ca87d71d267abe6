"""Memory for KV: one tensor of pages on the device, one on the host.

A page holds `page_tokens` tokens of one (request, layer), K and V adjacent:

    storage: (pages, 2, page_tokens, kv_heads, head_dim)

so that a full page is one contiguous copy (design section 6). With poison, whatever is free or not
yet filled is NaN, and a wrong read shows at once. A device page that becomes free is ready for
copies into it when compute is done with it; compute itself keeps its own order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import nan

import torch

from orbitflow.backend.kv.pages import PageBook
from orbitflow.backend.link.compute import Compute
from orbitflow.backend.link.events import DONE, Event, Wait, Waits
from orbitflow.errors import UserError
from orbitflow.units import KIB, format_bytes

Notice = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class PageShape:
    """One layer's K and V of `page_tokens` tokens."""

    page_tokens: int
    kv_heads: int
    head_dim: int
    dtype: torch.dtype = torch.float32

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """Shape of a page."""
        return (2, self.page_tokens, self.kv_heads, self.head_dim)

    @property
    def page_bytes(self) -> int:
        """Bytes of a page."""
        return 2 * self.page_tokens * self.kv_heads * self.head_dim * self.dtype.itemsize


class PagePool:
    """Pages on the device."""

    def __init__(
        self,
        shape: PageShape,
        pages: int,
        compute: Compute,
        waits: Waits,
        *,
        device: torch.device | str = "cpu",
        poison: bool = False,
    ) -> None:
        self.shape = shape
        self.storage = torch.empty((pages, *shape.sizes), dtype=shape.dtype, device=device)
        self.book = PageBook("device", pages, waits, Wait.FREED, self._freed)
        self._compute = compute
        self._poison = poison
        self._ready: dict[int, Event] = {}
        if poison:
            self._freed(range(pages))

    def page(self, number: int) -> torch.Tensor:
        """One page, shape (2, page_tokens, kv_heads, head_dim)."""
        return self.storage[number]

    def ready(self, pages: Sequence[int]) -> list[Event]:
        """What a copy into these pages must wait for."""
        return [self._ready.get(page, DONE) for page in pages]

    def set_ready(self, pages: Sequence[int], event: Event) -> None:
        """Let copies into these pages wait for an event."""
        for page in pages:
            self._ready[page] = event

    def spoil(self, pages: Sequence[int]) -> None:
        """Fill pages with NaN, if this pool does that."""
        if self._poison and pages:
            storage = self.storage
            rows = torch.tensor(list(pages), device=storage.device)
            self._compute.run(lambda: storage.index_fill_(0, rows, nan))

    def _freed(self, pages: Sequence[int]) -> None:
        self.spoil(pages)
        self.set_ready(pages, self._compute.record())


class HostPool:
    """Pages on the host: pinned where the device copies from them."""

    def __init__(
        self,
        shape: PageShape,
        pages: int,
        waits: Waits,
        *,
        pin: bool = False,
        poison: bool = False,
        available_bytes: int | None = None,
        notice: Notice | None = None,
    ) -> None:
        refuse_too_large(pages * shape.page_bytes, available_bytes)
        self.shape = shape
        self.storage = _allocate((pages, *shape.sizes), shape.dtype, pin, notice)
        self.book = PageBook("host", pages, waits, Wait.READ, self._freed)
        self._poison = poison
        self._freed(range(pages))

    def page(self, number: int) -> torch.Tensor:
        """One page, shape (2, page_tokens, kv_heads, head_dim)."""
        return self.storage[number]

    def _freed(self, pages: Sequence[int]) -> None:
        if self._poison and pages:
            self.storage[list(pages)] = nan


def refuse_too_large(wanted_bytes: int, available_bytes: int | None = None) -> None:
    """Raise a UserError if the host has no room for a pool; said before it is allocated."""
    if available_bytes is None:
        available_bytes = _available_bytes()
    if wanted_bytes > available_bytes:
        raise UserError(
            f"a host KV pool of {format_bytes(wanted_bytes)} exceeds the "
            f"{format_bytes(available_bytes)} of memory that are free: lower --host-memory"
        )


def _available_bytes() -> int:
    """Memory that can be had without swapping; the file cache counts where Linux says so."""
    with suppress(OSError), open("/proc/meminfo") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * KIB
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _allocate(
    sizes: tuple[int, ...], dtype: torch.dtype, pin: bool, notice: Notice | None
) -> torch.Tensor:
    if pin:
        try:
            return torch.empty(sizes, dtype=dtype, pin_memory=True)
        except RuntimeError as refusal:
            if notice is not None:
                notice(f"the host pool cannot be pinned, so copies are slower: {refusal}")
    return torch.empty(sizes, dtype=dtype)
