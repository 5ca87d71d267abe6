"""The sans-I/O serving core: continuous batching under one policy, whoever owns the clock.

It never sleeps, copies or computes. A driver feeds it:

    refusal = core.submit(request, now)      at any time      -> None, or why it can never be served
    step = core.next_step(now)               between passes   -> Step | Idle
    core.adopt(plan, now)                    between passes
    events = core.finish(step, outcome)

Invariants: what the account holds fits at the end of every window; every running request gets one
token per decode pass; a step has its outcome before the next one is asked for. Design section 2.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.engine.apply import DecisionApplier
from orbitflow.engine.batch import PassClock
from orbitflow.engine.guard import ask, decide
from orbitflow.engine.policy import Decision, Policy, View
from orbitflow.engine.queues import Queues
from orbitflow.errors import PolicyError
from orbitflow.memory import KvAccount, KvLimits
from orbitflow.request import Phase, Request, RequestState
from orbitflow.step import (
    Events,
    Finished,
    Idle,
    PlanAnswer,
    PlanRequest,
    Step,
    StepOutcome,
    TokenSegment,
)

LONGEST_STEP = 4096  # passes; bounds the arrays that a driver fills


class DecisionRecord(NamedTuple):
    """A decision that changed something, for the log."""

    now_s: float
    passes: int
    decision: Decision
    gpu_pages: int
    host_pages: int


class ServingCore:
    """State machine of one server. `tbt_limit_s` is the default SLO on the time between tokens, in
    seconds; `ttft_of` says each request's on the time to its first token, None that there is none.
    """

    def __init__(
        self,
        policy: Policy,
        limits: KvLimits,
        *,
        tbt_limit_s: float,
        max_batch: int | None = None,
        prefill_chunk: int = 0,
        ttft_of: Callable[[Request], float] | None = None,
        on_decision: Callable[[DecisionRecord], object] | None = None,
    ) -> None:
        self._stores = policy.data_plane.write_through
        self.policy = policy
        self.limits = limits
        self.account = KvAccount(limits)
        self._on_decision = on_decision
        self._queues = Queues(max_batch, prefill_chunk)
        self._clock = PassClock(self._oldest_needed_pass)
        self._applier = DecisionApplier(self._queues, self.account, policy, tbt_limit_s)
        moving = self._applier.relocations.arriving
        self._view = View(
            *(self._queues, self.account, self.token_times_s, tbt_limit_s, ttft_of, moving),
            policy.data_plane,
        )
        self._stale = True  # something changed that the policy has not seen
        self._planning = False  # a plan was asked for and has not been adopted
        self._step: Step | None = None
        self._steps = 0

    # -- what a driver calls ----------------------------------------------------------------------

    def submit(self, request: Request, now_s: float) -> str | None:
        """Queue a request. Return why it can never be served, if so; it is then forgotten."""
        gpu, host = ask(self.policy.pages_alone, request)
        limits = self.limits
        if gpu > limits.gpu_pages:
            return (
                f"needs {self._tokens(gpu)} tokens of KV on the GPU with the smallest placement of "
                f"{self.policy.name}, there is room for {self._tokens(limits.gpu_pages)}"
            )
        if limits.host_pages is not None and host > limits.host_pages:
            return (
                f"needs {self._tokens(host)} tokens of KV on the host, "
                f"there is room for {self._tokens(limits.host_pages)}"
            )
        self._stale = self._stale or self._is_open
        self._queues.submit(request)
        return None

    def next_step(self, now_s: float) -> Step | Idle:
        """Say what to do next. Raise a PolicyError if the policy leaves an able machine idle."""
        assert self._step is None, "the last step has no outcome yet"
        passes, queues = self._clock.passes, self._queues
        plan_request = None
        if self._stale or passes >= self._applier.window_end:
            plan_request = self._decide(now_s)
        chunks, decodes = queues.prefills.next_chunks()
        batch = queues.batch
        batch.refresh()
        ids = batch.ids if decodes else ()
        moves = self._applier.relocations.take(decoding=bool(ids))
        if not (chunks or ids or self._applier.relocations.pending):
            return self._idle(plan_request)
        self._steps += 1
        self._step = Step(
            self._steps,
            chunks,
            ids,
            batch.context_tokens if ids else 0,
            batch.contexts(passes) if ids and self._stores else None,
            batch.streams(passes) if ids else (),
            self.account.ring_pages,
            moves,
            1 if chunks else self._passes(passes) if ids else 0,
            batch.version,
            self._is_open,
            plan_request,
        )
        return self._step

    def solve(self, request: PlanRequest) -> PlanAnswer:
        """Have the policy answer a plan request; may run beside the passes, on another thread."""
        return ask(self.policy.solve, request)

    def adopt(self, plan: PlanAnswer, now_s: float) -> None:
        """Hand a finished plan to the policy, which is asked again before the next pass."""
        self._planning = False
        ask(self.policy.adopt, plan, now_s)
        self._stale = True

    def finish(self, step: Step, outcome: StepOutcome) -> Events:
        """Take a step's outcome and say what happened."""
        assert step is self._step, "finish() wants the step that next_step() gave last"
        done = len(outcome.pass_end_s)
        assert done <= step.passes, "more passes done than asked for"
        self._step = None
        queues = self._queues
        if step.decode_ids and done:
            self._clock.append(outcome.pass_end_s)
            queues.batch.advance(done)
        if outcome.moves_done:
            self._applier.settle(outcome.moves_done)
        passes = self._clock.passes
        first: list[int] = []
        for chunk in step.chunks:
            state = queues.active[chunk.request_id]
            state.prefilled_tokens += chunk.tokens
            state.host = state.target
            if chunk.is_last:
                if not state.generated_before:
                    first.append(state.id)
                queues.first_token(state, passes, outcome.end_s)
                self._stale = True
        finished = tuple([self._retire(state) for state in queues.ended(passes)])
        admitted, paused, resumed = self._applier.take_news()
        events = Events(
            admitted,
            tuple(first),
            TokenSegment(step.decode_ids, outcome.pass_end_s),
            paused,
            resumed,
            finished,
        )
        if ask(self.policy.observe, step, outcome, events):
            self._stale = True
        return events

    # -- what recorders and tests look at --------------------------------------------------------

    @property
    def is_drained(self) -> bool:
        """Whether every request is finished, every page free and every move done."""
        return self._queues.is_empty and self.account.is_empty

    @property
    def queues(self) -> Queues:
        """Who waits, runs and is paused. Read, never change."""
        return self._queues

    @property
    def passes(self) -> int:
        """Decode passes made so far."""
        return self._clock.passes

    def token_times_s(self, state: RequestState) -> FloatArray:
        """Generation times of a request's tokens so far, shape (tokens,), in seconds."""
        history = state.history
        if state.phase is Phase.RUNNING:
            history = [*history, (state.since_pass, self._clock.passes)]
        between = self._clock.between
        return np.concatenate([between(*h) if isinstance(h, tuple) else (h,) for h in history])

    # -- inside ------------------------------------------------------------------------------------

    @property
    def _is_open(self) -> bool:
        """Whether an arrival now could be let in at once."""
        queues = self._queues
        return queues.is_open or (self.policy.admits_out_of_turn and queues.room > 0)

    def _tokens(self, pages: int) -> int:
        return pages * self.limits.page_tokens // self.limits.layers

    def _oldest_needed_pass(self) -> int:
        return self._queues.oldest_needed_pass(self._clock.passes)

    def _passes(self, passes: int) -> int:
        """Passes until a request ends, the window closes or the step is long enough."""
        end = min(self._queues.next_end(), self._applier.window_end)
        return min(end - passes, LONGEST_STEP)

    def _idle(self, plan_request: PlanRequest | None) -> Idle:
        queues = self._queues
        if (queues.waiting or queues.paused) and not self._planning:
            raise PolicyError(
                f"{self.policy.name} leaves {len(queues.waiting)} waiting and {len(queues.paused)} "
                "paused requests alone on an empty machine: it must admit or resume one"
            )
        return Idle(None, plan_request)

    def _decide(self, now_s: float) -> PlanRequest | None:
        """Ask the policy and do what it says."""
        self._stale = False
        view = self._view
        view.now_s, view.passes, view.is_planning = now_s, self._clock.passes, self._planning
        decision = decide(self.policy, view)
        changed = self._applier.apply(decision, now_s, view.passes)
        self.account.check()
        if changed and self._on_decision is not None:
            used = self.account
            self._on_decision(
                DecisionRecord(now_s, view.passes, decision, used.gpu_used, used.host_used)
            )
        if decision.plan_request is not None:
            if self._planning:
                raise PolicyError(f"{self.policy.name} asks for a plan while one is being made")
            self._planning = True
        return decision.plan_request

    def _retire(self, state: RequestState) -> Finished:
        times = self.token_times_s(state)
        self._queues.retire(state, self._clock.passes)
        self._applier.forget(state)
        self._stale = True
        return Finished(state.request, state.admitted_s, times, state.paused_s)
