"""Runs one policy over one workload on the simulator, and keeps everything that came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from strategies import Machine

from orbitflow.engine.engine import ServingCore
from orbitflow.engine.policy import DataPlane, Policy
from orbitflow.machine.pipeline import Overlap
from orbitflow.policy.registry import make_policy
from orbitflow.request import Request
from orbitflow.sim.server import Simulation, StepExecutor
from orbitflow.sim.step_executor import SimExecutor
from orbitflow.step import Events, Finished, Step, StepOutcome

Watch = Callable[[ServingCore, Step, StepOutcome, Events], None]
MakeExecutor = Callable[[Machine, DataPlane], StepExecutor]


@dataclass
class Run:
    """What a run came to. It is the run's observer as well."""

    core: ServingCore
    watch: Watch | None = None
    end_s: float = 0.0
    refusals: dict[int, str] = field(default_factory=dict)
    finished: dict[int, Finished] = field(default_factory=dict)
    steps: list[tuple[Step, StepOutcome, Events]] = field(default_factory=list)
    plans: int = 0

    def refused(self, request: Request, reason: str) -> None:
        assert request.id not in self.refusals
        self.refusals[request.id] = reason

    def stepped(self, step: Step, outcome: StepOutcome, events: Events) -> None:
        self.steps.append((step, outcome, events))
        for finished in events.finished:
            assert finished.request.id not in self.finished, "finished twice"
            self.finished[finished.request.id] = finished
        if self.watch is not None:
            self.watch(self.core, step, outcome, events)

    def planned(self, latency_s: float) -> None:
        self.plans += 1

    @property
    def times(self) -> dict[int, list[float]]:
        """Token times by request."""
        return {key: self.finished[key].token_times_s.tolist() for key in sorted(self.finished)}

    @property
    def parks(self) -> int:
        """How often a request was parked."""
        return sum(len(events.paused) for _, _, events in self.steps)


def simulated(machine: Machine, plane: DataPlane) -> StepExecutor:
    """The simulator's own executor."""
    return SimExecutor(machine.cost, plane)


class OnePassAtATime:
    """An executor that stops after every pass, as if something arrived all the time."""

    def __init__(self, inner: StepExecutor) -> None:
        self._inner = inner

    def execute(self, step: Step, start_s: float, stop_at_s: float) -> StepOutcome:
        return self._inner.execute(step, start_s, start_s)


def one_pass_at_a_time(machine: Machine, plane: DataPlane) -> StepExecutor:
    """The simulator's executor, stopped after every pass."""
    return OnePassAtATime(SimExecutor(machine.cost, plane))


def serve(
    policy: str | Policy,
    machine: Machine,
    requests: Iterable[Request],
    *,
    max_batch: int | None = None,
    prefill_chunk: int = 0,
    tbt_limit_s: float = 0.1,
    ttft_of: Callable[[Request], float] | None = None,
    overlap: Overlap | None = None,
    executor: MakeExecutor = simulated,
    planner_latency_s: float = 0.005,
    watch: Watch | None = None,
) -> Run:
    """Serve a workload to its end. `overlap` replaces the form of a policy that uses the ring."""
    chosen = make_policy(policy) if isinstance(policy, str) else policy
    chosen.bind(machine.limits, machine.cost)
    core = ServingCore(
        chosen,
        machine.limits,
        tbt_limit_s=tbt_limit_s,
        max_batch=max_batch,
        prefill_chunk=prefill_chunk,
        ttft_of=ttft_of,
    )
    plane = chosen.data_plane
    if overlap is not None and plane.overlap is Overlap.RING:
        plane = replace(plane, overlap=overlap)
    run = Run(core, watch)
    run.end_s = Simulation(
        core, executor(machine, plane), requests, run, planner_latency_s=planner_latency_s
    ).run()
    return run


def same_times(got: Run, want: dict[int, list[float]], rel: float = 1e-9) -> None:
    """Assert that two runs gave the same tokens to the same requests at the same times."""
    mine = got.times
    assert mine.keys() == want.keys()
    for key, times in mine.items():
        assert len(times) == len(want[key])
        for index, (a, b) in enumerate(zip(times, want[key], strict=True)):
            assert abs(a - b) <= rel * max(abs(a), abs(b), 1e-3), (
                f"token {index} of request {key}: {a!r} against {b!r}"
            )


def bursts(requests: Sequence[Request]) -> list[list[Request]]:
    """The requests by time of arrival."""
    groups: list[list[Request]] = []
    for request in requests:
        if not groups or groups[-1][0].arrival_s != request.arrival_s:
            groups.append([])
        groups[-1].append(request)
    return groups
