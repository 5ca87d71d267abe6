"""How a run of the backend's driver ends: failed, interrupted, and always closed and joined."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from contract.bench import LATENCY_S, PAIR, Bench, asking, steady
from contract.toys import Toy
from contract.virtual import VirtualClock

from orbitflow.backend.driver import on_ctrl_c
from orbitflow.engine.policy import Decision, View
from orbitflow.errors import BackendError, PolicyError
from orbitflow.request import Request
from orbitflow.step import PlanAnswer, PlanRequest


class Broken(Toy):
    """Its planner fails."""

    def solve(self, request: PlanRequest) -> PlanAnswer:
        raise PolicyError("no plan today")


@pytest.mark.parametrize("trace", [PAIR, (Request(0, 0.0, 9, 1),)], ids=["busy", "idle"])
def test_a_planner_that_fails_fails_the_run(trace: tuple[Request, ...]) -> None:
    bench = Bench(Broken(asking), trace)
    with pytest.raises(PolicyError, match="no plan today") as caught:
        bench.serve()
    assert "planner thread" in caught.value.__notes__[0]
    late = [end for end in bench.boundaries_s if end >= LATENCY_S]
    assert len(late) == (trace is PAIR), "the step went on"


def test_an_executor_that_fails_fails_the_run_after_everything_is_closed() -> None:
    def fail() -> None:
        raise BackendError("the copy worker died")

    bench = Bench(Toy(asking), PAIR)
    bench.executor.happens[3] = fail
    with pytest.raises(BackendError, match="copy worker"):
        bench.serve()
    assert len(bench.steps) == 2, "what was done before is shown"


def test_an_executor_that_cannot_be_closed_does_not_hide_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(what: str) -> Callable[[], None]:
        def raises() -> None:
            raise BackendError(what)

        return raises

    bench = Bench(Toy(steady), PAIR)
    bench.executor.happens[2] = fail("the first")
    monkeypatch.setattr(bench.executor, "close", fail("the second"))
    with pytest.raises(BackendError, match="the first") as caught:
        bench.driver.run()
    assert "the second" in caught.value.__notes__[0]


@pytest.mark.parametrize("rule", [steady, asking], ids=["no plan", "plan under way"])
def test_an_interrupt_ends_the_step_at_the_next_boundary(
    rule: Callable[[Toy, View], Decision],
) -> None:
    bench = Bench(Toy(rule), (*PAIR, Request(2, 900.0, 9, 5)), latency_s=500.0)
    bench.executor.happens[3] = bench.driver.interrupt
    end = bench.serve()
    assert not end.is_complete
    step, outcome, events = bench.steps[-1]
    assert (len(bench.steps), len(outcome.pass_end_s)) == (3, 1)
    assert step.passes > 1
    assert len(events.tokens.times_s) == 1, "what was delivered is recorded"
    assert end.end_s == outcome.end_s
    assert bench.plans == 0


def test_an_interrupt_wakes_an_idle_machine() -> None:
    class Interrupting(VirtualClock):
        def sleep(self, until_s: float | None) -> None:
            bench.driver.interrupt()
            super().sleep(until_s)

    bench = Bench(Toy(steady), (Request(0, 900.0, 9, 5),), clock=Interrupting())
    assert bench.serve() == (0.0, False)


def test_an_interrupt_in_the_middle_of_a_pass_is_an_error_like_any_other() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    bench = Bench(Toy(asking), PAIR, latency_s=500.0)
    bench.executor.happens[3] = interrupt
    with pytest.raises(KeyboardInterrupt):
        bench.serve()
    assert len(bench.steps) == 2


def test_the_first_ctrl_c_asks_and_the_second_insists() -> None:
    before = signal.getsignal(signal.SIGINT)
    bench = Bench(Toy(steady), PAIR)
    bench.executor.happens[3] = lambda: signal.raise_signal(signal.SIGINT)
    with on_ctrl_c(bench.driver.interrupt):
        assert not bench.serve().is_complete
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    assert len(bench.steps) == 3
