"""`flexgen`: block after block of requests; a block's first rows on the GPU, the rest on the host.

    T = L t_c + t_out + max(0, x_0 - t_out) + sum over l >= 1 of max(0, x_l - t_c)

x_l is the link time of layer l for the rows on the host: a row lies on one side in all its layers,
one layer is fetched ahead, and a barrier ends every layer. A block is whoever waits when the last
one is done; of its rows, in order of arrival, as many are resident as fit beside two staged layers,
with room for the longest output of the block behind every prompt (oracle). Nobody joins a block,
nothing moves while it runs, so memory never runs short. Source: FlexGen (ICML 2023), its code.

Simplified: KV only, weights and activations stay on the GPU; one GPU batch per block; prompts are
not padded; a block takes all that fits instead of the size a linear program finds best.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orbitflow.arrays import IntArray
from orbitflow.engine.policy import DataPlane, Decision, Lengths, Policy, View
from orbitflow.machine.pipeline import Overlap
from orbitflow.placement import RESIDENT, Placement, stride
from orbitflow.request import Request


class FlexGen(Policy):
    """Static blocks, split by rows."""

    name = "flexgen"
    lengths = Lengths.ORACLE
    data_plane = DataPlane(Overlap.BARRIER, write_through=True, ring_groups=2)
    admission = "the last block is done"
    places_at_admission = True

    def __init__(self) -> None:
        self._resident: frozenset[int] = frozenset()  # rows of the block that lie on the GPU

    def decide(self, view: View) -> Decision:
        """Start a block on an empty machine; else let the one that runs go on."""
        active = view.active
        if active:
            contexts = np.array([s.context_tokens(view.passes) for s in active], dtype=np.int64)
            ends = [s.request.final_tokens for s in active]
            ids = [s.id for s in active]
            window = self._window(contexts, ends, [i in self._resident for i in ids])
            return Decision(placement=self._placement(ids), window=window)
        block = self._next_block(view)
        rows = self._most_resident(block)
        self._resident = frozenset(r.id for r in block[:rows])
        ids = [r.id for r in block]
        return Decision(tuple(ids), placement=self._placement(ids), window=_longest(block))

    def pages_alone(self, request: Request) -> tuple[int, int]:
        """A block of its own, on whichever side takes less of the GPU."""
        return int(self._needs([request]).min()), self.limits.whole_pages(request.final_tokens)

    def _next_block(self, view: View) -> list[Request]:
        """The waiting, in order of arrival, while some split of them fits."""
        block: list[Request] = []
        host_free = view.account.host_free
        for request in view.waiting:
            host_free -= self.limits.whole_pages(request.final_tokens)
            if len(block) >= view.batch_room or host_free < 0:
                break
            if self._needs([*block, request]).min() > self.limits.gpu_pages:
                break
            block.append(request)
        return block

    def _most_resident(self, block: Sequence[Request]) -> int:
        """How many of the first rows can lie on the GPU."""
        fits = np.flatnonzero(self._needs(block) <= self.limits.gpu_pages)
        return int(fits[-1]) if len(fits) else 0

    def _needs(self, block: Sequence[Request]) -> IntArray:
        """GPU pages at the block's end with the first 0, 1, ... rows resident, (rows + 1,)."""
        prompts = np.array([r.prompt_tokens for r in block], dtype=np.int64)
        return self._split_pages(prompts + _longest(block))

    def _split_pages(self, tokens: IntArray) -> IntArray:
        """GPU pages of rows this long with the first 0, 1, ... of them resident."""
        limits = self.limits
        groups = 0 if limits.ring_is_extra else self.data_plane.ring_groups
        whole = np.append(0, np.cumsum(-(-tokens // limits.page_tokens)))
        staged = np.append(0, np.cumsum((tokens - 1) // limits.page_tokens))
        tails = limits.layers * (len(tokens) - np.arange(len(tokens) + 1))
        pages: IntArray = limits.layers * whole + tails + groups * (staged[-1] - staged)
        return pages

    def _window(self, contexts: IntArray, ends: list[int], is_resident: list[bool]) -> int:
        """Passes until the last row ends, or as many of them as are sure to fit.

        A row that has to wait for its prompt's turn lasts longer than the others were reserved for.
        """
        order = np.argsort(~np.array(is_resident), kind="stable")
        ordered, rows = contexts[order], sum(is_resident)
        window = max(1, int((np.array(ends) + 1 - contexts).max()))
        while window > 1 and self._split_pages(ordered + window - 1)[rows] > self.limits.gpu_pages:
            window //= 2
        return window

    def _placement(self, ids: Sequence[int]) -> Placement:
        host = stride(self.limits.layers, 0)
        return Placement(RESIDENT, {i: host for i in ids if i not in self._resident})


def _longest(block: Sequence[Request]) -> int:
    """Decode passes of the block's longest output, at least one."""
    return max([1, *(request.output_tokens - 1 for request in block)])
