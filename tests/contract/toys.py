"""Policies that do one thing each, to make drivers show what they do with it."""

from __future__ import annotations

from collections.abc import Callable

from orbitflow.engine.policy import DataPlane, Decision, Lengths, Policy, View
from orbitflow.machine.pipeline import Overlap
from orbitflow.placement import HostLayers
from orbitflow.request import Request
from orbitflow.step import PlanAnswer, PlanRequest

Rule = Callable[["Toy", View], Decision]


class Toy(Policy):
    """Admits everybody at once and does what its rule says besides; asked every few passes."""

    name = "toy"
    lengths = Lengths.NONE
    admission = "everybody"

    def __init__(self, rule: Rule, overlap: Overlap = Overlap.RING) -> None:
        self.data_plane = DataPlane(overlap, write_through=True, ring_groups=2)
        self.rule = rule
        self.adopted: list[tuple[PlanAnswer, float]] = []
        self.asked: list[PlanRequest] = []

    def decide(self, view: View) -> Decision:
        """Everybody who waits is let in under the rule's placement."""
        decision = self.rule(self, view)
        return decision._replace(admit=tuple(request.id for request in view.waiting))

    def pages_alone(self, request: Request) -> tuple[int, int]:
        """As if everything were resident."""
        pages = self.limits.whole_pages(request.final_tokens)
        return pages, pages

    def ask(self, now_s: float, snapshot: object) -> PlanRequest:
        """A new plan request."""
        request = PlanRequest(len(self.asked), now_s, snapshot)
        self.asked.append(request)
        return request

    def solve(self, request: PlanRequest) -> PlanAnswer:
        """The answer is the question."""
        return PlanAnswer(request.id, request.snapshot)

    def adopt(self, plan: PlanAnswer, now_s: float) -> None:
        """Remember what came and when."""
        self.adopted.append((plan, now_s))


def host_of(view: View, request_id: int) -> HostLayers | None:
    """Where a parked request's KV is now; None if it is not parked."""
    return next((s.host for s in view.paused if s.id == request_id), None)
