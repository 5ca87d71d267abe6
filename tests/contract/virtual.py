"""Virtual time for the backend's driver: its real threads, on a clock that jumps.

The clock stands still unless the driver sleeps or its executor makes a pass. On its way it stops at
every alarm, lets go the thread that waits for it and waits, really, until that thread has rung. So
two threads run, one at a time, and every run is the same.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from copy import deepcopy
from math import inf

from orbitflow.request import Request
from orbitflow.sim.server import StepExecutor
from orbitflow.step import Core, Events, Idle, PlanAnswer, PlanRequest, Step, StepOutcome

PATIENCE_S = 30.0  # real seconds until a test gives up on a thread


class VirtualClock:
    """The driver's `Alarm`; time passes with `advance` and with sleep."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._rung = threading.Event()
        self._due: list[tuple[float, int, threading.Event]] = []
        self._alarms = 0

    def start(self) -> None:
        self._now_s = 0.0

    def now_s(self) -> float:
        return self._now_s

    def ring(self) -> None:
        self._rung.set()

    def sleep(self, until_s: float | None) -> None:
        if not self._rung.is_set():
            next_s = min(inf if until_s is None else until_s, self._due[0][0] if self._due else inf)
            if next_s < inf:
                self.advance(next_s)
            else:
                assert self._rung.wait(PATIENCE_S), "nobody rings"
        self._rung.clear()

    def alarm(self, due_s: float) -> threading.Event:
        """What is set when the clock passes `due_s`; whoever waits for it must ring."""
        self._alarms += 1
        event = threading.Event()
        heapq.heappush(self._due, (due_s, self._alarms, event))
        return event

    def advance(self, to_s: float) -> None:
        """Let time pass."""
        while self._due and self._due[0][0] <= to_s:
            due_s, _, event = heapq.heappop(self._due)
            self._now_s = max(self._now_s, due_s)
            self._rung.clear()
            event.set()
            assert self._rung.wait(PATIENCE_S), "nobody rings"
        self._now_s = max(self._now_s, to_s)

    def release(self) -> None:
        """The end: let go everybody who waits."""
        for _, _, event in self._due:
            event.set()


class VirtualExecutor:
    """The simulator's executor pass by pass: it learns after each whether it is to stop."""

    def __init__(self, inner: StepExecutor, clock: VirtualClock) -> None:
        self._inner = inner
        self._clock = clock
        self.closed = 0

    def execute(self, step: Step, start_s: float, stop: Callable[[], bool]) -> StepOutcome:
        foreseen = deepcopy(self._inner).execute(step, start_s, inf)
        passes, stop_at_s, last_s = 0, inf, start_s
        for end_s in foreseen.pass_end_s.tolist():
            passes += 1
            self._clock.advance(end_s)
            if stop():
                stop_at_s = (last_s + end_s) / 2  # away from boundaries, which are rounded
                break
            last_s = end_s
        outcome = self._inner.execute(step, start_s, stop_at_s)
        assert len(outcome.pass_end_s) == passes
        self._clock.advance(outcome.end_s)
        return outcome

    def close(self) -> None:
        self.closed += 1
        self._clock.release()


class SlowSolver:
    """A core whose plans take virtual time to solve."""

    def __init__(self, core: Core, clock: VirtualClock, latency_s: float) -> None:
        self._core = core
        self._clock = clock
        self._latency_s = latency_s
        self._alarm = threading.Event()

    @property
    def is_drained(self) -> bool:
        return self._core.is_drained

    def submit(self, request: Request, now_s: float) -> str | None:
        return self._core.submit(request, now_s)

    def next_step(self, now_s: float) -> Step | Idle:
        step = self._core.next_step(now_s)
        if step.plan_request is not None:
            self._alarm = self._clock.alarm(now_s + self._latency_s)
        return step

    def solve(self, request: PlanRequest) -> PlanAnswer:
        assert self._alarm.wait(PATIENCE_S), "the time of the plan never comes"
        return self._core.solve(request)

    def adopt(self, plan: PlanAnswer, now_s: float) -> None:
        self._core.adopt(plan, now_s)

    def finish(self, step: Step, outcome: StepOutcome) -> Events:
        return self._core.finish(step, outcome)
