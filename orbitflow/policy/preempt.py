"""`preempt-recompute` and `preempt-swap`: all KV on the GPU; when it is full, preempt the latest.

First come first served, like vLLM: a request starts as soon as its prompt fits; when growth no
longer fits, the latest arrival is preempted, and it comes back before any new request.

preempt-recompute   its KV is dropped; prompt and generated tokens are prefilled again (vLLM V1)
preempt-swap        its KV moves to the host in one piece and back in whole (vLLM V0); where the
                    host is full, it is recomputed

Simplified: two pages of head-room per request instead of a watermark of 1 %; a swap holds up the
pass that it precedes, as it did in vLLM V0.
"""

from __future__ import annotations

from dataclasses import replace

from orbitflow.engine.policy import Decision, View
from orbitflow.machine.pipeline import Overlap
from orbitflow.placement import RESIDENT, HostLayers
from orbitflow.policy.uniform import UniformPolicy
from orbitflow.request import Request


class Preempt(UniformPolicy):
    """Everything resident; the latest arrival is preempted."""

    admission = "its prompt fits"
    recomputes = True

    def __init__(self, name: str, *, swaps: bool) -> None:
        super().__init__(name, Overlap.RING, ring_groups=0)
        self.data_plane = replace(self.data_plane, write_through=False)
        self._swaps = swaps

    def choices(self) -> tuple[HostLayers, ...]:
        """Nothing on the host."""
        return (RESIDENT,)

    def pages_alone(self, request: Request) -> tuple[int, int]:
        """Whole on the GPU; the host is used only if it has room."""
        return super().pages_alone(request)[0], 0

    def _park(self, view: View) -> Decision:
        decision = super()._park(view)
        if not self._swaps:
            return decision._replace(pause=(), drop=decision.pause)
        host_free = view.account.host_free
        swap: list[int] = []
        drop: list[int] = []
        for request_id in decision.pause:
            state = next(s for s in view.active if s.id == request_id)
            host_free -= self.limits.whole_pages(state.request.final_tokens)
            (swap if host_free >= 0 else drop).append(request_id)
        return decision._replace(pause=tuple(swap), drop=tuple(drop))


def preempt_recompute() -> Preempt:
    """The preempted start over."""
    return Preempt("preempt-recompute", swaps=False)


def preempt_swap() -> Preempt:
    """The preempted go to the host while it has room."""
    return Preempt("preempt-swap", swaps=True)
