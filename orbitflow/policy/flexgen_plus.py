"""`flexgen-plus`: FlexGen as the OrbitFlow authors strengthened it, one stride for the whole batch.

    blocks of a layer = sum over requests of (ceil(max(context, mean) / page) + 1)
    off = L - min(L, capacity // blocks)          layers that do not fit
    distance = max(1, L // off - 1)               nothing on the host where off = 0

`mean` is the mean final length of the requests (oracle, `mean_length`). Offloads as if every
request were at least that long, so it changes its mind less often than `dynamic` and offloads more.
Source: `_select_prefetch_distance` of the published artefact (arXiv 2601.10729).

Simplified: chosen anew whenever the batch changes and once a page, instead of in every step; where
tail pages and the staging ring do not fit beside the choice, the next narrower stride is taken.
"""

from __future__ import annotations

import numpy as np

from orbitflow.arrays import IntArray
from orbitflow.engine.policy import Decision, Lengths, View
from orbitflow.machine.pipeline import Overlap
from orbitflow.placement import RESIDENT, HostLayers, stride, useful_distances
from orbitflow.policy.select_n import MeanLength
from orbitflow.policy.uniform import UniformPolicy


class FlexGenPlus(UniformPolicy):
    """The stride that an oracle's mean length asks for."""

    lengths = Lengths.ORACLE

    def __init__(self) -> None:
        super().__init__("flexgen-plus", Overlap.RING, ring_groups=2)
        self._mean = MeanLength()
        self._distance: int | None = None  # as of the last decision; None offloads nothing

    def choices(self) -> tuple[HostLayers, ...]:
        """The stride that was asked for, then ever narrower ones."""
        layers, distance = self.limits.layers, self._distance
        narrower = [d for d in useful_distances(layers) if distance is None or d < distance]
        first = RESIDENT if distance is None else stride(layers, distance)
        return (first, *(stride(layers, d) for d in narrower))

    def decide(self, view: View) -> Decision:
        """Choose the stride for who is here, then go on as every uniform policy."""
        self._mean.meet(view.active)
        self._distance = self._wanted(view.contexts)
        decision = super().decide(view)
        assert decision.window is not None
        return decision._replace(window=min(decision.window, self.limits.page_tokens))

    def _wanted(self, contexts: IntArray) -> int | None:
        limits = self.limits
        lengths = np.maximum(contexts, self._mean.tokens)
        blocks = int((-(-lengths // limits.page_tokens) + 1).sum())
        off = limits.layers - min(limits.layers, limits.gpu_pages // max(1, blocks))
        return max(1, limits.layers // off - 1) if off else None
