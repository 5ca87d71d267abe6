"""When the backend's driver does what, and on which thread; the contract has the rest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
from contract.bench import LATENCY_S, MACHINE, PAIR, Bench, asking, steady
from contract.toys import Toy
from contract.virtual import VirtualClock
from hypothesis import given
from hypothesis import strategies as st
from reference.harness import Run, same_times, serve
from strategies import POLICIES, Machine, machines, small_machine, workloads

from orbitflow.backend.clock import AlarmClock
from orbitflow.backend.driver import Driver
from orbitflow.engine.engine import ServingCore
from orbitflow.engine.journal import FinishCall, StepCall, SubmitCall
from orbitflow.engine.policy import Decision, View
from orbitflow.policy.registry import make_policy
from orbitflow.request import Request
from orbitflow.step import PlanAnswer, PlanRequest, Step, StepOutcome


@given(machine=machines(), requests=workloads(max_size=8), name=st.sampled_from(POLICIES))
def test_it_serves_as_the_simulator_does(
    machine: Machine, requests: tuple[Request, ...], name: str
) -> None:
    bench = Bench(make_policy(name), requests, machine, latency_s=0.005)
    assert bench.serve().is_complete
    simulated = serve(name, machine, requests)
    same_times(bench, simulated.times)
    assert bench.refusals == simulated.refusals
    assert (bench.parks, bench.plans) == (simulated.parks, simulated.plans)
    assert bench.core.is_drained


def test_an_idle_machine_takes_arrivals_at_their_times() -> None:
    times_s = [0.25, 7.0, 7.5, 40.0]
    bench = Bench(Toy(steady), [Request(i, t, 9, 2) for i, t in enumerate(times_s)])
    end = bench.serve()
    assert bench.submitted_s == times_s
    assert [bench.finished[i].admitted_s for i in range(4)] == times_s
    assert end == (bench.boundaries_s[-1], True)


def test_who_comes_during_a_pass_is_there_at_its_end() -> None:
    bench = Bench(Toy(steady), (*PAIR, Request(2, 0.5, 9, 5), Request(3, 0.5001, 9, 5)))
    bench.serve()
    end_s = min(end for end in bench.boundaries_s if end >= 0.5)
    assert end_s > 0.5001
    assert bench.submitted_s == [0.0, 0.0, end_s, end_s]
    kinds = [type(entry) for entry in bench.journal.entries]
    assert kinds[kinds.index(SubmitCall, 2) + 2] is FinishCall, "they are there when the step ends"
    assert end_s in [outcome.end_s for _, outcome, _ in bench.steps], "the step went on"


def test_a_step_that_no_arrival_concerns_goes_on() -> None:
    trace = (Request(0, 0.0, 41, 50), Request(1, 0.0, 41, 50), Request(2, 0.5, 9, 5))
    bench = Bench(make_policy("no-offload"), trace, small_machine(100))
    bench.serve()
    deaf = [(s, o) for s, o, _ in bench.steps if not s.stop_on_arrival and o.start_s < 0.5]
    step, outcome = deaf[-1]
    assert outcome.end_s > 0.5
    assert len(outcome.pass_end_s) == step.passes
    assert bench.submitted_s[2] == outcome.end_s


def test_those_who_come_together_are_submitted_before_the_core_is_asked() -> None:
    bench = Bench(Toy(steady), [Request(i, 3.0, 9, 2) for i in range(3)])
    bench.serve()
    kinds = [type(entry) for entry in bench.journal.entries]
    assert kinds[:6] == [StepCall, SubmitCall, SubmitCall, SubmitCall, StepCall, FinishCall]
    assert bench.submitted_s == [3.0] * 3


def test_an_empty_trace_is_over_at_once() -> None:
    bench = Bench(Toy(steady), ())
    assert bench.serve() == (0.0, True)
    assert not bench.steps


def test_who_can_never_fit_is_told_to_the_observer_and_the_rest_is_served() -> None:
    trace = (Request(0, 0.0, 9, 5), Request(1, 0.1, 5000, 5), Request(2, 90.0, 5000, 5))
    bench = Bench(Toy(steady), trace)
    assert bench.serve().is_complete
    assert set(bench.finished) == {0}
    assert set(bench.refusals) == {1, 2}
    assert "room for" in bench.refusals[1]


def test_the_trace_is_read_one_request_ahead() -> None:
    read = []

    def trace() -> Iterator[Request]:
        for index in range(9):
            read.append(index)
            yield Request(index, 10.0 * index, 9, 2)

    bench = Bench(Toy(steady), trace())
    ahead: list[int] = []
    for step in range(1, 19):
        bench.executor.happens[step] = lambda: ahead.append(len(read) - len(bench.submitted_s))
    bench.serve()
    assert len(bench.finished) == 9
    assert max(ahead) == 1


def test_time_never_runs_backwards() -> None:
    class Shaky(VirtualClock):
        reads = 0

        def now_s(self) -> float:
            self.reads += 1
            return max(0.0, super().now_s() - 0.04 * (self.reads % 3))

    trace = (*PAIR, *(Request(i, 0.3 * i, 9, 5) for i in range(2, 9)))
    bench = Bench(Toy(asking), trace, clock=Shaky())
    bench.serve()
    entries = bench.journal.entries
    told_s = [entry.now_s for entry in entries if not isinstance(entry, FinishCall)]
    assert told_s == sorted(told_s)
    assert bench.boundaries_s == sorted(bench.boundaries_s)
    for before, after in pairwise(entries):
        if isinstance(before, FinishCall) and not isinstance(after, FinishCall):
            assert before.outcome.end_s <= after.now_s
    assert len(bench.finished) == len(trace)


def test_plans_are_made_on_one_other_thread_and_adopted_between_passes() -> None:
    threads: list[str] = []

    class Watched(Toy):
        def solve(self, request: PlanRequest) -> PlanAnswer:
            threads.append(threading.current_thread().name)
            return super().solve(request)

        def adopt(self, plan: PlanAnswer, now_s: float) -> None:
            assert not bench.executor.is_under_way
            assert threading.current_thread() is threading.main_thread()
            super().adopt(plan, now_s)

    def often(toy: Toy, view: View) -> Decision:
        is_open = len(toy.asked) > len(toy.adopted) or len(toy.asked) == 5
        question = None if is_open else toy.ask(view.now_s, view.passes)
        return steady(toy, view)._replace(plan_request=question)

    toy = Watched(often)
    bench = Bench(toy, PAIR)
    bench.serve()
    assert len(toy.adopted) == 5
    assert all(now_s in bench.boundaries_s for _, now_s in toy.adopted)
    assert len(set(threads)) == 1
    assert threads[0].startswith("planner")
    assert bench.latencies_s == pytest.approx([LATENCY_S] * 5)


class Instant:
    """An executor on real time whose passes take none."""

    def __init__(self, clock: AlarmClock) -> None:
        self.clock = clock

    def execute(self, step: Step, start_s: float, stop: Callable[[], bool]) -> StepOutcome:
        ends: list[float] = []
        while len(ends) < step.passes and not (ends and stop()):
            ends.append(self.clock.now_s())
        done = tuple(move.id for move in step.moves)
        return StepOutcome(start_s, np.array(ends), 0.0, 0.0, 0, 0, done, self.clock.now_s())

    def close(self) -> None:
        """Nothing to close."""


def test_it_runs_in_real_time() -> None:
    toy = Toy(asking)
    toy.bind(MACHINE.limits, MACHINE.cost)
    core = ServingCore(toy, MACHINE.limits, tbt_limit_s=0.1)
    run, clock = Run(core), AlarmClock()
    trace = [Request(i, 0.0007 * i, 9, 20) for i in range(8)]
    end = Driver(core, Instant(clock), trace, run, clock=clock).run()
    assert end.is_complete
    assert (run.plans, len(toy.adopted)) == (1, 1)
    for request in trace:
        assert request.arrival_s <= run.finished[request.id].token_times_s[0] <= end.end_s
