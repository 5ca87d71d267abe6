"""What a decision reserves: KV for every token that its window can bring, so no pass runs short.

Windowed: a request of context c holds pages for c + window - 1 tokens in its resident layers and a
tail page in each host layer. Unwindowed (None): it holds its final length from admission on.
Written-through requests reserve host pages for their final length, which a client's cap bounds, so
that the host cannot fill up in mid-flight.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection

import numpy as np

from orbitflow.arrays import IntArray
from orbitflow.engine.policy import DataPlane
from orbitflow.memory import BatchPages, KvAccount
from orbitflow.placement import HostLayers
from orbitflow.request import RequestState


class Reservation:
    """Keeps the account in step with the decisions."""

    def __init__(self, account: KvAccount, data_plane: DataPlane) -> None:
        self._account = account
        self._limits = account.limits
        self._plane = data_plane

    def admit(self, sequence: RequestState, *, to_the_end: bool) -> None:
        """Reserve host pages, and GPU pages too where there is no window to do it."""
        pages = self._limits.whole_pages(sequence.request.final_tokens)
        host = pages if self._plane.write_through else 0
        self._account.charge(sequence.id, pages if to_the_end else 0, host)

    def for_window(
        self,
        window: int,
        contexts: IntArray,
        active: Collection[RequestState],
        uniform: HostLayers | None,
    ) -> None:
        """Reserve the next `window` passes of everybody active, and the staging ring.

        `contexts` has one entry per active sequence, in any order, if all want `uniform` on the
        host; in the order of `active` if `uniform` is None.
        """
        if uniform is not None:
            groups = {uniform: contexts}
        else:
            rows: defaultdict[HostLayers, list[int]] = defaultdict(list)
            for index, sequence in enumerate(active):
                rows[sequence.target].append(index)
            groups = {target: contexts[np.array(at)] for target, at in rows.items()}
        gpu, kept = 0, self._plane.host_read.kept_share
        staged: Counter[int] = Counter()
        for target, members in groups.items():
            batch = BatchPages.of(self._limits, members, window - 1)
            gpu += batch.gpu_pages(self._limits.layers, len(target), kept_share=kept)
            staged.update(dict.fromkeys(target, batch.full_pages))
        ring = self._plane.ring_groups * max(staged.values(), default=0)
        self._account.set_window(gpu, ring)

    def park(self, sequence: RequestState, passes: int) -> None:
        """Keep the host pages, and on the GPU only the full pages of layers that stay or come."""
        ahead = self._limits.layers - len(sequence.target)
        gpu = ahead * self._limits.full_pages(sequence.context_tokens(passes))
        keeps = self._plane.write_through or sequence.prefilled_tokens
        host = self._limits.whole_pages(sequence.request.final_tokens) if keeps else 0
        self._account.charge(sequence.id, gpu, host)

    def resume(self, sequence: RequestState) -> None:
        """Let the window pay for what is on the GPU again."""
        self.admit(sequence, to_the_end=False)

    def end(self, sequence: RequestState, *, is_last: bool) -> None:
        """Free what a request holds; the window's share of it ends with the next decision."""
        self._account.release(sequence.id)
        if is_last:
            self._account.set_window(0, 0)
