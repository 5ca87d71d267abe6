"""SimPy processes around the serving core: arrivals, the engine, the planner.

One event per step, not per token: the engine knows when the next arrival or plan comes and lets a
step run to the first pass boundary at or after it. So cost grows with changes of the batch, not
with tokens. Fidelity `step`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator
from math import inf
from typing import Any, Protocol

import simpy

from orbitflow.request import Request
from orbitflow.step import Core, Idle, Observer, PlanAnswer, PlanRequest, Step, StepOutcome

Process = Generator[simpy.Event, Any, None]
Performance = Generator[simpy.Event, Any, StepOutcome]


class Executor(Protocol):
    """Times steps; the backend's executors do them."""

    def execute(self, step: Step, start_s: float, stop_at_s: float) -> StepOutcome:
        """Do a step from `start_s` on; stop at the first pass boundary at or after `stop_at_s`."""
        ...


class Server(ABC):
    """One server, one trace, one policy, on SimPy's clock; subclasses carry the steps out."""

    def __init__(
        self,
        core: Core,
        requests: Iterable[Request],
        observer: Observer,
        planner_latency_s: float,
    ) -> None:
        self._env = simpy.Environment(initial_time=0.0)
        self._core = core
        self._requests: Iterator[Request] = iter(requests)
        self._observer = observer
        self._planner_latency_s = planner_latency_s
        self._next_arrival_s = inf
        self._plan_ready_s = inf
        self._plan: PlanAnswer | None = None
        self._wake = self._env.event()

    @abstractmethod
    def _carry_out(self, step: Step, stop_at_s: float) -> Performance:
        """Let a step take its time; return what came of it."""

    def run(self) -> float:
        """Run until the last request is served; return when that was, in seconds."""
        self._env.process(self._arrivals())
        engine = self._env.process(self._engine())
        self._env.run(until=engine)
        assert self._core.is_drained, "the run ended with requests or pages left"
        return float(self._env.now)

    def _arrivals(self) -> Process:
        env, core = self._env, self._core
        for request in self._requests:
            self._next_arrival_s = request.arrival_s
            if request.arrival_s > env.now:
                yield env.timeout(request.arrival_s - env.now)
            reason = core.submit(request, env.now)
            if reason is not None:
                self._observer.refused(request, reason)
            elif not self._wake.triggered:
                self._wake.succeed()
        self._next_arrival_s = inf
        if not self._wake.triggered:
            self._wake.succeed()

    def _engine(self) -> Process:
        env, core = self._env, self._core
        stepped = self._observer.stepped
        while True:
            if self._plan is not None:
                plan, self._plan = self._plan, None
                core.adopt(plan, env.now)
            step = core.next_step(env.now)
            if step.plan_request is not None:
                self._plan_ready_s = env.now + self._planner_latency_s
                env.process(self._planner(step.plan_request))
            if isinstance(step, Idle):
                if step.until_s is None and self._nothing_comes():
                    return
                yield from self._sleep(step.until_s)
                continue
            stop_at_s = self._plan_ready_s
            if step.stop_on_arrival and self._next_arrival_s < stop_at_s:
                stop_at_s = self._next_arrival_s
            outcome = yield from self._carry_out(step, stop_at_s)
            stepped(step, outcome, core.finish(step, outcome))

    def _sleep(self, until_s: float | None) -> Process:
        self._wake = self._env.event()
        if until_s is None:
            yield self._wake
        else:
            yield self._wake | self._env.timeout(max(0.0, until_s - self._env.now))

    def _nothing_comes(self) -> bool:
        return self._next_arrival_s == inf and self._plan_ready_s == inf

    def _planner(self, request: PlanRequest) -> Process:
        """Solve beside the passes; the answer is there after the modelled latency."""
        plan = self._core.solve(request)
        self._observer.planned(self._planner_latency_s)
        yield self._env.timeout(self._planner_latency_s)
        self._plan, self._plan_ready_s = plan, inf
        if not self._wake.triggered:
            self._wake.succeed()


class Simulation(Server):
    """Fidelity `step`: an executor times a step at once, and one event lets the time pass."""

    def __init__(
        self,
        core: Core,
        executor: Executor,
        requests: Iterable[Request],
        observer: Observer,
        *,
        planner_latency_s: float = 0.0,
    ) -> None:
        super().__init__(core, requests, observer, planner_latency_s)
        self._executor = executor

    def _carry_out(self, step: Step, stop_at_s: float) -> Performance:
        outcome = self._executor.execute(step, self._env.now, stop_at_s)
        yield self._env.timeout(outcome.end_s - self._env.now)
        return outcome
