"""A serving core in which requests can be seated in mid-life, and whose last decision is kept.

A seated request has all its KV on the GPU, whether that fits or not. So the first decision meets a
batch that has just outgrown the machine, and every layer that leaves the GPU is its choice.
"""

from __future__ import annotations

from collections.abc import Sequence as Listed
from typing import NamedTuple

from orbitflow.arrays import FloatArray
from orbitflow.config import Tuning
from orbitflow.engine.apply import NEVER
from orbitflow.engine.engine import ServingCore
from orbitflow.engine.guard import ask, decide
from orbitflow.engine.policy import Decision, Lengths, Policy, View
from orbitflow.placement import ALL_RESIDENT
from orbitflow.request import Request
from orbitflow.step import Events, PlanAnswer, PlanRequest, Step, StepOutcome


class Seat(NamedTuple):
    """A request in mid-life, and when its tokens so far came out, shape (tokens,)."""

    request: Request
    token_times_s: FloatArray


class SeatedCore(ServingCore):
    """A serving core that keeps what it decided last."""

    decided_s = 0.0

    def seat(self, seats: Listed[Seat], now_s: float) -> None:
        """Let submitted requests run as if they had been served until `now_s`."""
        if not seats:
            return
        ids = tuple(seat.request.id for seat in seats)
        self._applier.apply(Decision(admit=ids, placement=ALL_RESIDENT, window=1), now_s, 0)
        self._applier.take_news()
        for request, times in seats:
            state = self._queues.active[request.id]
            state.prefilled_tokens = state.prefill_goal
            *before, last = times.tolist()
            state.generated_before, state.history = len(before), before
            self._queues.first_token(state, 0, last)

    def _decide(self, now_s: float) -> PlanRequest | None:
        self.decided_s = now_s
        return super()._decide(now_s)

    @property
    def window(self) -> int | None:
        """Passes until the policy must be asked again; None if it never must."""
        end = self._applier.window_end
        return None if end == NEVER else end - self.passes


class InlinePlanning(Policy):
    """A policy whose plans are solved at once: every decision is made with the planner's answer."""

    lengths = Lengths.NONE  # the inner policy's, from __init__ on

    def __init__(self, inner: Policy) -> None:
        self._inner = inner
        self.solved: PlanAnswer | None = None  # the planner's answer to the last question
        self.name, self.lengths = inner.name, inner.lengths
        self.data_plane, self.admission = inner.data_plane, inner.admission

    def configure(self, tuning: Tuning) -> None:
        """Nothing: the inner policy is bound already."""

    def decide(self, view: View) -> Decision:
        """Decide; where that asks for a plan, decide again with it."""
        self.solved = None
        decision = decide(self._inner, view)
        if decision.plan_request is None:
            return decision
        self.solved = ask(self._inner.solve, decision.plan_request)
        ask(self._inner.adopt, self.solved, view.now_s)
        return decide(self._inner, view)._replace(plan_request=None)

    def pages_alone(self, request: Request) -> tuple[int, int]:
        """The inner policy's."""
        return ask(self._inner.pages_alone, request)

    def observe(self, step: Step, outcome: StepOutcome, events: Events) -> bool:
        """The inner policy learns."""
        return ask(self._inner.observe, step, outcome, events)

    def solve(self, request: PlanRequest) -> PlanAnswer:
        """The inner policy's; never called, as every plan is solved at once."""
        return ask(self._inner.solve, request)
