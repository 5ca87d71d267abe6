"""The backend's driver on virtual time, with something to happen in its steps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from reference.harness import Run
from strategies import Machine, small_machine

from contract.toys import Toy
from contract.virtual import SlowSolver, VirtualClock, VirtualExecutor
from orbitflow.backend.driver import Driver, Ending
from orbitflow.engine.engine import ServingCore
from orbitflow.engine.journal import Journal, SubmitCall
from orbitflow.engine.policy import Decision, Policy, View
from orbitflow.placement import Placement
from orbitflow.request import Request
from orbitflow.sim.step_executor import SimExecutor
from orbitflow.step import Step, StepOutcome

MACHINE = small_machine(2000, link_bytes_per_s=3.1e7)
LATENCY_S = 0.111
PAIR = (Request(0, 0.0, 41, 60), Request(1, 0.0, 41, 60))


def steady(toy: Toy, view: View) -> Decision:
    """Everything on the GPU, to the end of a long window."""
    return Decision(placement=Placement(()), window=50)


def asking(toy: Toy, view: View) -> Decision:
    """The same, with one question."""
    return steady(toy, view)._replace(
        plan_request=None if toy.asked else toy.ask(view.now_s, "snapshot")
    )


class Scripted(VirtualExecutor):
    """The simulator's executor, with something that happens in the first pass of a step."""

    def __init__(self, inner: SimExecutor, clock: VirtualClock) -> None:
        super().__init__(inner, clock)
        self.happens: dict[int, Callable[[], object]] = {}
        self.steps = 0
        self.is_under_way = False

    def execute(self, step: Step, start_s: float, stop: Callable[[], bool]) -> StepOutcome:
        self.steps += 1
        self.is_under_way = True
        self.happens.get(self.steps, lambda: None)()
        outcome = super().execute(step, start_s, stop)
        self.is_under_way = False
        return outcome


class Bench(Run):
    """A driver on virtual time with all that it needs; it is the observer."""

    def __init__(
        self,
        policy: Policy,
        requests: Iterable[Request],
        machine: Machine = MACHINE,
        *,
        latency_s: float = LATENCY_S,
        clock: VirtualClock | None = None,
    ) -> None:
        policy.bind(machine.limits, machine.cost)
        super().__init__(ServingCore(policy, machine.limits, tbt_limit_s=0.1))
        self.journal = Journal(self.core)
        self.latencies_s: list[float] = []
        clock = VirtualClock() if clock is None else clock
        self.executor = Scripted(SimExecutor(machine.cost, policy.data_plane), clock)
        core = SlowSolver(self.journal, clock, latency_s)
        self.driver = Driver(core, self.executor, requests, self, clock=clock)

    def planned(self, latency_s: float) -> None:
        super().planned(latency_s)
        self.latencies_s.append(latency_s)

    def serve(self) -> Ending:
        """Run. However it ends, the executor is closed and no thread is left."""
        try:
            return self.driver.run()
        finally:
            assert self.executor.closed == 1
            assert not [t for t in threading.enumerate() if t.name.startswith("planner")]

    @property
    def submitted_s(self) -> list[float]:
        """When the core was told of each request."""
        return [entry.now_s for entry in self.journal.entries if isinstance(entry, SubmitCall)]

    @property
    def boundaries_s(self) -> list[float]:
        """The ends of all passes."""
        return [end for _, outcome, _ in self.steps for end in outcome.pass_end_s.tolist()]
