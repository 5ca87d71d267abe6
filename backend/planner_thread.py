"""Solves plan requests beside the passes, on one thread of its own.

One question at a time, and its answer must be taken before the next: `ask`, then `is_ready` turns
true and the clock rings, then `take`. Requests are immutable snapshots and nothing else is shared
with the driver's thread. What solving raises, `take` raises.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from orbitflow.backend.clock import Alarm
from orbitflow.results.timeline import Span, SpanSink
from orbitflow.step import PlanAnswer, PlanRequest


class Answer(NamedTuple):
    """A plan, and how long it took from the question on."""

    plan: PlanAnswer
    latency_s: float


class PlannerThread:
    """The thread starts with the first question; `close` joins it."""

    def __init__(
        self, solve: Callable[[PlanRequest], PlanAnswer], clock: Alarm, span: SpanSink | None = None
    ) -> None:
        """`span` hears of every answer, on the planner's thread."""
        self._solve = solve
        self._clock = clock
        self._span = span
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="planner")
        self._answer: Future[Answer] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether there is a question whose answer has not been taken."""
        return self._answer is not None

    @property
    def is_ready(self) -> bool:
        """Whether an answer, or a failure, can be taken."""
        return self._answer is not None and self._answer.done()

    def ask(self, request: PlanRequest) -> None:
        """Begin to solve; the clock rings when that is done."""
        assert self._answer is None, "one question at a time"
        self._answer = self._thread.submit(self._work, request, self._clock.now_s())
        self._answer.add_done_callback(lambda _: self._clock.ring())

    def take(self) -> Answer:
        """Wait for the answer and take it; raise what solving raised."""
        assert self._answer is not None, "nothing was asked"
        answer, self._answer = self._answer, None
        return answer.result()

    def close(self) -> None:
        """Let the question under way end, and the thread with it."""
        self._thread.shutdown(cancel_futures=True)

    def _work(self, request: PlanRequest, asked_s: float) -> Answer:
        try:
            plan = self._solve(request)
        except BaseException as error:
            error.add_note(f"in the planner thread, at plan request {request.id}")
            raise
        answered_s = self._clock.now_s()
        if self._span is not None:
            self._span(Span("planner", "plan", asked_s, answered_s))
        return Answer(plan, answered_s - asked_s)
