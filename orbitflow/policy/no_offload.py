"""`no-offload`: all KV on the GPU, and a request starts only when it fits to its end.

First come first served; reserves prompt + output at admission, so nothing is ever moved, stored or
preempted. It knows every output length in advance (oracle), which no real server does: a best case
for serving without offloading, not a rival to copy.
"""

from __future__ import annotations

from orbitflow.engine.policy import DataPlane, Decision, Lengths, Policy, View
from orbitflow.machine.pipeline import Overlap
from orbitflow.request import Request

_KEEP = Decision()


class NoOffload(Policy):
    """Everything resident; queue what does not fit."""

    name = "no-offload"
    lengths = Lengths.ORACLE
    data_plane = DataPlane(Overlap.RING, write_through=False, ring_groups=0)
    admission = "all of it fits"
    places_at_admission = True

    def decide(self, view: View) -> Decision:
        """Admit from the head of the queue while whole requests fit."""
        room, free = view.batch_room, view.account.gpu_free
        admitted: list[int] = []
        for request in view.waiting:
            free -= self._pages(request)
            if room <= len(admitted) or free < 0:
                break
            admitted.append(request.id)
        return _KEEP if not admitted else Decision(admit=tuple(admitted))

    def pages_alone(self, request: Request) -> tuple[int, int]:
        """Whole on the GPU, nothing on the host."""
        return self._pages(request), 0

    def _pages(self, request: Request) -> int:
        return self.limits.whole_pages(request.final_tokens)
