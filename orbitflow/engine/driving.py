"""What a driver stands between: the serving core that it feeds, and those who watch it do so.

The simulator and the backend drive the same core before the same observers; they differ in their
clock and in who carries the steps out. Design section 2.1.
"""

from __future__ import annotations

from typing import Protocol

from orbitflow.request import Request
from orbitflow.step import Events, Idle, PlanAnswer, PlanRequest, Step, StepOutcome


class Core(Protocol):
    """What a driver needs of the serving core; a `Journal` will do as well."""

    @property
    def is_drained(self) -> bool:
        """Whether every request is finished and every page free."""
        ...

    def submit(self, request: Request, now_s: float) -> str | None:
        """Queue a request, or say why it can never be served."""
        ...

    def next_step(self, now_s: float) -> Step | Idle:
        """Say what to do next."""
        ...

    def solve(self, request: PlanRequest) -> PlanAnswer:
        """Answer a plan request."""
        ...

    def adopt(self, plan: PlanAnswer, now_s: float) -> None:
        """Take a plan."""
        ...

    def finish(self, step: Step, outcome: StepOutcome) -> Events:
        """Take a step's outcome."""
        ...


class Observer(Protocol):
    """Watches a run; results are made from what it sees."""

    def refused(self, request: Request, reason: str) -> None:
        """A request that can never be served."""
        ...

    def stepped(self, step: Step, outcome: StepOutcome, events: Events) -> None:
        """A step that is done."""
        ...

    def planned(self, latency_s: float) -> None:
        """A plan that was asked for, and how long its answer takes."""
        ...


class Observers:
    """Several observers, told in order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def refused(self, request: Request, reason: str) -> None:
        """Tell everybody."""
        for observer in self._observers:
            observer.refused(request, reason)

    def stepped(self, step: Step, outcome: StepOutcome, events: Events) -> None:
        """Tell everybody."""
        for observer in self._observers:
            observer.stepped(step, outcome, events)

    def planned(self, latency_s: float) -> None:
        """Tell everybody."""
        for observer in self._observers:
            observer.planned(latency_s)
