"""The drivers that must honour the contract; one more is one more entry of `DRIVERS`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from strategies import Machine

from contract.virtual import SlowSolver, VirtualClock, VirtualExecutor
from orbitflow.backend import driver
from orbitflow.engine.policy import DataPlane
from orbitflow.request import Request
from orbitflow.sim.server import Simulation
from orbitflow.sim.step_executor import SimExecutor
from orbitflow.step import Core, Observer


class Driver(Protocol):
    """Serves a workload with a core until everything is done; return when that was."""

    def __call__(
        self,
        core: Core,
        machine: Machine,
        plane: DataPlane,
        requests: Iterable[Request],
        observer: Observer,
        planner_latency_s: float,
    ) -> float: ...


def simulator(
    core: Core,
    machine: Machine,
    plane: DataPlane,
    requests: Iterable[Request],
    observer: Observer,
    planner_latency_s: float,
) -> float:
    """The SimPy driver, fidelity `step`."""
    executor = SimExecutor(machine.cost, plane)
    return Simulation(core, executor, requests, observer, planner_latency_s=planner_latency_s).run()


def backend(
    core: Core,
    machine: Machine,
    plane: DataPlane,
    requests: Iterable[Request],
    observer: Observer,
    planner_latency_s: float,
) -> float:
    """The backend's driver and its planner thread, on a clock that moves when a pass is made."""
    clock = VirtualClock()
    executor = VirtualExecutor(SimExecutor(machine.cost, plane), clock)
    slow = SlowSolver(core, clock, planner_latency_s)
    end = driver.Driver(slow, executor, requests, observer, clock=clock).run()
    assert end.is_complete
    return end.end_s


DRIVERS: dict[str, Driver] = {"simulator": simulator, "backend": backend}
