"""The real-clock driver of the serving core: the counterpart of `sim/server.py` for hardware.

One thread replays the arrivals, asks the core and hands its steps to an executor; a second one
solves plan requests beside the passes. Everything but solving happens on the first, between passes:

    adopt a ready plan -> submit who has arrived -> next_step -> execute, or sleep -> finish

Invariants: every call to the core carries a time no earlier than the last one's; every step that
was begun and did not raise is finished and shown to the observer, also when the run is interrupted;
however a run ends, the executor is closed and the planner's thread joined. Design section 2.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from orbitflow.backend.clock import Alarm, AlarmClock
from orbitflow.backend.planner_thread import PlannerThread
from orbitflow.request import Request
from orbitflow.results.timeline import SpanSink
from orbitflow.step import Core, Observer, Step, StepOutcome


class Executor(Protocol):
    """Carries out steps on a machine."""

    def execute(self, step: Step, start_s: float, stop: Callable[[], bool]) -> StepOutcome:
        """Do a step that starts now. Ask `stop` after each pass, never before the first, and end
        the step there if it says so. A step without passes ends by itself.

        All times of the outcome are on the driver's clock, on which it is `start_s` now. Raising
        fails the run.
        """
        ...

    def close(self) -> None:
        """Let the copies under way end and free everything. Called once, however the run ends."""
        ...


class Ending(NamedTuple):
    """How a run ended: when, and whether everything was served or it was interrupted."""

    end_s: float
    is_complete: bool


class Driver:
    """One machine, one trace, one policy, in real time. Serves once and owns its executor."""

    def __init__(
        self,
        core: Core,
        executor: Executor,
        requests: Iterable[Request],
        observer: Observer,
        *,
        clock: Alarm | None = None,
        span: SpanSink | None = None,
    ) -> None:
        """`span` hears of every plan's making, on another thread."""
        self._core = core
        self._executor = executor
        self._observer = observer
        self._clock = AlarmClock() if clock is None else clock
        self._arrivals = Arrivals(requests)
        self._planner = PlannerThread(core.solve, self._clock, span)
        self._latest_s = 0.0
        self._is_interrupted = False

    def run(self) -> Ending:
        """Serve until the last request is done or the run is interrupted. Raise what the executor,
        the core or the planner raises, after everything is closed.
        """
        self._clock.start()
        with self._closing():
            is_complete = self._serve()
        assert self._core.is_drained or not is_complete, "requests or pages are left"
        return Ending(self._now_s(), is_complete)

    def interrupt(self) -> None:
        """Have the run end at the next pass boundary; from any thread or signal handler."""
        self._is_interrupted = True
        self._clock.ring()

    def _serve(self) -> bool:
        """Whether it came to the end."""
        core, planner = self._core, self._planner
        while not self._is_interrupted:
            self._adopt()
            self._submit()
            step = core.next_step(self._now_s())
            if step.plan_request is not None:
                planner.ask(step.plan_request)
            if isinstance(step, Step):
                self._carry_out(step)
                continue
            dues_s = [due_s for due_s in (step.until_s, self._arrivals.next_s) if due_s is not None]
            if not dues_s and not planner.is_busy:
                return True
            self._clock.sleep(min(dues_s, default=None))
        return False

    def _carry_out(self, step: Step) -> None:
        start_s = self._now_s()
        outcome = self._executor.execute(step, start_s, lambda: self._wants_to_stop(step))
        assert outcome.end_s >= start_s, "a step ended before it began"
        self._latest_s = max(self._latest_s, outcome.end_s)
        self._submit()  # who came in the meantime is there when the step ends
        self._observer.stepped(step, outcome, self._core.finish(step, outcome))

    def _wants_to_stop(self, step: Step) -> bool:
        """Whether something has come up that the step should not go on for; changes nothing."""
        if self._is_interrupted or self._planner.is_ready:
            return True
        return step.stop_on_arrival and self._arrivals.is_due(self._now_s())

    def _adopt(self) -> None:
        if self._planner.is_ready:
            answer = self._planner.take()
            self._observer.planned(answer.latency_s)
            self._core.adopt(answer.plan, self._now_s())

    def _submit(self) -> None:
        now_s = self._now_s()
        for request in self._arrivals.take(now_s):
            refusal = self._core.submit(request, now_s)
            if refusal is not None:
                self._observer.refused(request, refusal)

    def _now_s(self) -> float:
        """The time; never earlier than the last time told or measured."""
        self._latest_s = max(self._latest_s, self._clock.now_s())
        return self._latest_s

    @contextmanager
    def _closing(self) -> Iterator[None]:
        """Close everything in the end; what failed first is what is raised."""
        try:
            yield
        except BaseException as error:
            try:
                self._close()
            except Exception as late:
                error.add_note(f"closing failed as well: {late!r}")
            raise
        self._close()

    def _close(self) -> None:
        try:
            self._executor.close()
        finally:
            self._planner.close()
