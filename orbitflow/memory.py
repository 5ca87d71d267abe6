"""The KV account: how many pages are spoken for on the GPU and on the host.

A page is one layer of one request times `page_tokens` tokens. A request that will hold T tokens at
the end of the window, with h of its L layers on the host, has

    GPU pages = (L - h) ceil(T / page) + h          one tail page per host layer

(a policy that keeps a share of its host KV on the GPU as well adds that share of the pages there),
and all together have a staging ring of `ring_groups` times the largest group, a group being the
host pages of one layer. Invariant: GPU pages <= gpu_pages and host pages <= host_pages at the END
of the window. Planner, simulator and backend use this one account (design 3.1).

How long placements are sure to fit is computed from growth: a running request grows by a token per
pass, and W passes fit if at their end

    sum_r ((L - |host_r|) A_r + |host_r|) + groups max_j sum_{r: j in host_r} F_r <= GPU pages

with A_r = ceil((c_r + W - 1) / page), F_r = (c_r + W - 2) // page. All of it is reserved when the
window opens, so nothing can run short inside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import IntArray
from orbitflow.errors import PolicyError, UserError
from orbitflow.placement import HostLayers


@dataclass(frozen=True, slots=True)
class KvLimits:
    """How much KV fits. `host_pages` None means that the host has no limit.

    `ring_is_extra`: the staging ring comes on top of `gpu_pages` instead of out of them.
    """

    layers: int
    page_tokens: int
    gpu_pages: int
    host_pages: int | None = None
    ring_is_extra: bool = False

    @classmethod
    def from_tokens(
        cls,
        layers: int,
        page_tokens: int,
        capacity_tokens: int,
        host_bytes: int | None = None,
        token_layer_bytes: int = 1,
        *,
        ring_is_extra: bool = False,
    ) -> KvLimits:
        """Limits from a KV capacity in tokens (of all layers) and bytes of host memory.

        Raise a UserError if not one page of every layer fits.
        """
        if capacity_tokens < page_tokens:
            raise UserError(
                f"a KV capacity of {capacity_tokens} tokens is below one page of {page_tokens} "
                "tokens: raise --kv-capacity-tokens or --gpu-memory"
            )
        host_pages = None if host_bytes is None else host_bytes // (page_tokens * token_layer_bytes)
        gpu_pages = capacity_tokens // page_tokens * layers
        return cls(layers, page_tokens, gpu_pages, host_pages, ring_is_extra)

    @property
    def capacity_tokens(self) -> int:
        """Tokens whose KV of all layers fits on the GPU."""
        return self.gpu_pages // self.layers * self.page_tokens

    def pages(self, tokens: int) -> int:
        """Pages that `tokens` tokens take in one layer, the tail page included."""
        return -(-tokens // self.page_tokens)

    def full_pages(self, context_tokens: int) -> int:
        """Pages of one layer behind the token being decoded that are full, so never change."""
        return (context_tokens - 1) // self.page_tokens

    def whole_pages(self, tokens: int) -> int:
        """Pages of all layers: what a request takes that is whole on one side of the link."""
        return self.layers * self.pages(tokens)


class BatchPages(NamedTuple):
    """Pages that a batch takes in one layer."""

    requests: int
    pages: int
    full_pages: int

    @classmethod
    def of(cls, limits: KvLimits, context_tokens: IntArray, ahead: int = 0) -> BatchPages:
        """Count for requests of these contexts, `ahead` tokens later."""
        tokens, page = context_tokens + ahead, limits.page_tokens
        pages, full = -(-tokens // page), (tokens - 1) // page
        return cls(len(tokens), int(pages.sum()), int(full.sum()))

    def plus(self, limits: KvLimits, context_tokens: int) -> BatchPages:
        """The batch with one more request."""
        return BatchPages(
            self.requests + 1,
            self.pages + limits.pages(context_tokens),
            self.full_pages + limits.full_pages(context_tokens),
        )

    def gpu_pages(
        self, layers: int, host_layers: int, ring_groups: int = 0, kept_share: float = 0.0
    ) -> int:
        """GPU pages with `host_layers` of every request's `layers` on the host, ring included.

        The ring is needed only where something is on the host; of what is there, `kept_share` is on
        the GPU as well.
        """
        if not host_layers:
            return layers * self.pages
        resident = (layers - host_layers) * self.pages
        kept = ceil(kept_share * host_layers * self.full_pages) if kept_share else 0
        return resident + kept + host_layers * self.requests + ring_groups * self.full_pages


@dataclass(slots=True)
class KvAccount:
    """Running totals. Single requests are charged until released, the window and ring are reset."""

    limits: KvLimits
    gpu_used: int = 0
    host_used: int = 0
    gpu_peak: int = 0
    host_peak: int = 0
    ring_pages: int = 0
    window_pages: int = 0
    _held: dict[int, tuple[int, int]] = field(default_factory=dict)

    def charge(self, request_id: int, gpu_pages: int, host_pages: int) -> None:
        """Set what one request holds by itself, whatever that was before."""
        gpu_before, host_before = self._held.get(request_id, (0, 0))
        self._held[request_id] = (gpu_pages, host_pages)
        self.gpu_used += gpu_pages - gpu_before
        self.host_used += host_pages - host_before

    def release(self, request_id: int) -> None:
        """End what a request holds by itself."""
        gpu_pages, host_pages = self._held.pop(request_id)
        self.gpu_used -= gpu_pages
        self.host_used -= host_pages

    def set_window(self, window_pages: int, ring_pages: int) -> None:
        """Set what all active requests together hold until the window ends, and the ring."""
        charged = 0 if self.limits.ring_is_extra else ring_pages - self.ring_pages
        self.gpu_used += window_pages - self.window_pages + charged
        self.window_pages, self.ring_pages = window_pages, ring_pages

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held: true before the first request and after the last."""
        return not self._held and self.gpu_used == 0 and self.host_used == 0

    @property
    def gpu_free(self) -> int:
        """Free GPU pages."""
        return self.limits.gpu_pages - self.gpu_used

    @property
    def host_free(self) -> float:
        """Free host pages; infinite where the host has no limit."""
        limit = self.limits.host_pages
        return np.inf if limit is None else limit - self.host_used

    def check(self) -> None:
        """Note the peak; raise a PolicyError if more is held than there is."""
        self.gpu_peak = max(self.gpu_peak, self.gpu_used)
        self.host_peak = max(self.host_peak, self.host_used)
        if self.gpu_used > self.limits.gpu_pages:
            raise PolicyError(
                f"the decision needs {self.gpu_used} GPU pages of {self.limits.gpu_pages} (ring "
                f"{self.ring_pages}): the policy must pause, offload more or admit less"
            )
        if self.host_free < 0:
            raise PolicyError(
                f"the decision needs {self.host_used} host pages of {self.limits.host_pages}: "
                "the policy must admit less, or be given more --host-memory"
            )


def pages_at_end(
    limits: KvLimits,
    contexts: IntArray,
    placed: Sequence[HostLayers],
    ring_groups: int,
    passes: int,
) -> int:
    """GPU pages that these running requests need for `passes` more passes, ring included."""
    return _Growth(limits, contexts, placed, ring_groups).pages(passes)


def longest_window(
    limits: KvLimits,
    contexts: IntArray,
    placed: Sequence[HostLayers],
    ring_groups: int,
    most: int,
) -> int:
    """The most passes, up to `most`, for which they fit; 0 if they do not fit for one."""
    growth = _Growth(limits, contexts, placed, ring_groups)
    fits, fails = 0, most + 1
    while fails - fits > 1:
        middle = (fits + fails) // 2
        if growth.pages(middle) <= limits.gpu_pages:
            fits = middle
        else:
            fails = middle
    return fits


class _Growth:
    """Running requests of fixed placements, some passes on."""

    def __init__(
        self,
        limits: KvLimits,
        contexts: IntArray,
        placed: Sequence[HostLayers],
        ring_groups: int,
    ) -> None:
        self._page = limits.page_tokens
        self._contexts = contexts
        self._groups = 0 if limits.ring_is_extra else ring_groups
        kinds = sorted(set(placed))
        row_of = {host: row for row, host in enumerate(kinds)}
        rows = [row_of[host] for host in placed]
        self._staged = _staging_layers(tuple(kinds), limits.layers)[:, rows]
        self._hosted = np.array([len(host) for host in placed], dtype=np.int64)
        self._resident = limits.layers - self._hosted

    def pages(self, passes: int) -> int:
        """GPU pages at the end of so many passes."""
        tokens = self._contexts + passes - 1
        full = (tokens - 1) // self._page
        held = int((self._resident * (full + 1) + self._hosted).sum())
        return held + self._groups * int((self._staged @ full).max(initial=0))


@lru_cache(maxsize=256)
def _staging_layers(kinds: tuple[HostLayers, ...], layers: int) -> IntArray:
    """Which of these placements have each layer on the host, equal layers once, shape (layers,
    kinds).
    """
    members = np.zeros((len(kinds), layers), dtype=np.int64)
    for row, host in enumerate(kinds):
        members[row, list(host)] = 1
    return np.unique(members, axis=1).T
