"""`select-n`: one layer of every N on the host, the same for all requests, N from the SLO's slack.

    N = ceil(x / (t_c (1 + delta))), between 1 and L     delta = (SLO - T) / T
    T = groups max(N t_c, x) + the layers left over      groups = L // N

x is the link time of one layer of the batch, T and t_c the pass and its layer with all KV on the
GPU: the smallest N, so the most KV on the host, whose transfers still end within the SLO, which is
the tightest of the batch. A newcomer waits where that N would not make room for it. Source:
Select-N (arXiv 2502.08182), as the OrbitFlow authors state it.

Simplified: chosen anew whenever the batch changes and once a page, instead of in every pass; where
growth wants more on the host than the SLO allows, memory wins, and the latest arrival is parked
only when nothing fits. Transfers run on the ring that all policies share, which may hide a little
more than the formula's groups do.
"""

from __future__ import annotations

from math import ceil

from orbitflow.engine.policy import Decision, View
from orbitflow.machine.pipeline import Overlap
from orbitflow.memory import BatchPages
from orbitflow.placement import HostLayers, stride
from orbitflow.policy.uniform import UniformPolicy


class SelectN(UniformPolicy):
    """The smallest interval that meets the SLO."""

    admission = "fits within the SLO"

    def __init__(self) -> None:
        super().__init__("select-n", Overlap.RING, ring_groups=2)
        self._interval: int | None = None  # as of the last decision; None: nobody is here yet
        self._tau_s = 0.0

    def choices(self) -> tuple[HostLayers, ...]:
        """The interval's layers, then those of ever smaller ones, which leave more on the host."""
        layers = self.limits.layers
        by_size: dict[int, HostLayers] = {}
        for interval in range(self._interval or layers, 0, -1):
            host = stride(layers, interval - 1)
            by_size.setdefault(len(host), host)
        return tuple(by_size.values())

    def decide(self, view: View) -> Decision:
        """Choose the interval for who is here, then go on as every uniform policy."""
        contexts, requests = view.contexts, [s.request for s in (*view.active, *view.parked)]
        self._tau_s = min(map(view.tau_of, requests or view.waiting), default=0.0)
        self._interval = None
        if len(contexts):
            group_s = float(self.cost.stream_s(contexts, 1)[0][0])
            self._interval = self._slo_interval(len(contexts), int(contexts.sum()), group_s)
        decision = super().decide(view)
        assert decision.window is not None
        return decision._replace(window=min(decision.window, self.limits.page_tokens))

    def _slo_interval(self, requests: int, context_tokens: int, group_s: float) -> int:
        """N of a batch whose layer travels in `group_s`."""
        cost = self.cost
        pass_s = cost.decode_pass_s(requests, context_tokens)
        allowed_s = (pass_s - cost.decode.outside_s) / cost.layers * self._tau_s / pass_s
        return cost.layers if group_s >= cost.layers * allowed_s else ceil(group_s / allowed_s) or 1

    def _lets_in(self, batch: BatchPages) -> bool:
        cost = self.cost
        group_s = cost.copy_s(cost.h2d, batch.full_pages * cost.page_bytes, batch.requests)
        tokens = batch.pages * cost.page_tokens
        interval = self._slo_interval(batch.requests, tokens, group_s)
        host = stride(cost.layers, interval - 1)
        return super()._lets_in(batch) and self._needs(batch, host) <= self.limits.gpu_pages
