"""The drivers that must honour the contract; a backend is one more entry of `DRIVERS`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from strategies import Machine

from orbitflow.policy.base import DataPlane
from orbitflow.request import Request
from orbitflow.sim.engine import Core, Observer, Simulation
from orbitflow.sim.executor import SimExecutor


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


DRIVERS: dict[str, Driver] = {"simulator": simulator}
