"""How long a placement is sure to fit: the window is computed from growth, never chosen freely.

A running request grows by a token per pass, so by one page per layer every `page_tokens` passes. W
is the most passes for which, at their end,

    sum_r ((L - |host_r|) A_r + |host_r|) + groups max_j sum_{r: j in host_r} F_r <= GPU pages

with A_r = ceil((c_r + W - 1) / page), F_r = (c_r + W - 2) // page. All of it is reserved when the
window opens, so nothing can run short inside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orbitflow.arrays import IntArray
from orbitflow.memory import KvLimits
from orbitflow.placement import HostLayers


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
        kinds = {host: row for row, host in enumerate(dict.fromkeys(placed))}
        members = np.array([[j in host for j in range(limits.layers)] for host in kinds])
        columns = np.unique(members, axis=1)
        self._staged = columns.T[:, [kinds[host] for host in placed]].astype(np.int64)
        self._hosted = np.array([len(host) for host in placed], dtype=np.int64)
        self._resident = limits.layers - self._hosted

    def pages(self, passes: int) -> int:
        """GPU pages at the end of so many passes."""
        tokens = self._contexts + passes - 1
        full = (tokens - 1) // self._page
        held = int((self._resident * (full + 1) + self._hosted).sum())
        return held + self._groups * int((self._staged @ full).max(initial=0))
