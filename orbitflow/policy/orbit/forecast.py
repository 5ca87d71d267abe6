"""Forecasts: which requests can still meet both limits, and when each needs its next token.

    late:      its first token came after its TTFT limit
    hopeless:  n (T1(c + n / 2) - tau) > max(0, b)      too slow even with the machine for itself

with n tokens to come (`output_lengths`), c tokens of context, balance b and T1 the pass of one
request alone. Neither can meet its SLO any more, so late tokens of both count less in plans: by
`--lost-weight` and by `hopeless_weight`.

The deposit moves the due time of a request back whenever a token comes late. Its TPOT limit does
not move: it counts from the first token. So a request that has lagged is due earlier by its lag,
while it can be expected to catch up:

    due = first + g tau      if  lag <= caught_up n (tau - T1(c + n / 2)),    lag = anchor - first
          anchor + g tau     otherwise, or if it is late           (anchor: see `token_deposit`)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from orbitflow.config import LengthsKnown, Tuning
from orbitflow.engine.policy import View
from orbitflow.machine.cost import CostModel
from orbitflow.policy.orbit.load import LoadModel
from orbitflow.policy.orbit.options import DEFAULT, OrbitOptions
from orbitflow.policy.output_lengths import OutputLengths
from orbitflow.policy.token_deposit import TokenDeposit
from orbitflow.request import Request, RequestState
from orbitflow.step import Events, StepOutcome


class Forecast(NamedTuple):
    """One admitted request, as far as one can tell. `left` in tokens, `balance_s` as of now."""

    request: Request
    context_tokens: int
    generated: int
    left: int
    tbt_limit_s: float
    balance_s: float
    is_late: bool
    is_hopeless: bool


class Forecaster:
    """Knows the first tokens and deposits of all admitted requests, and guesses their lengths."""

    def __init__(
        self,
        deposit: TokenDeposit,
        load: LoadModel,
        tuning: Tuning,
        options: OrbitOptions = DEFAULT,
    ) -> None:
        self._deposit = deposit
        self._load = load
        self._options = options
        self._lost_weight = tuning.lost_weight
        self._lengths = OutputLengths(
            is_oracle=tuning.lengths is LengthsKnown.ORACLE,
            memory=options.lengths,
            quantile=options.quantile,
            first_tokens=options.first_tokens,
        )
        self._tbt_limits_s: dict[int, float] = {}
        self._due_s: dict[int, float] = {}  # of first tokens
        self._late: set[int] = set()

    @property
    def least_tbt_limit_s(self) -> float | None:
        """The tightest TBT limit of all admitted requests; None if there are none."""
        return min(self._tbt_limits_s.values(), default=None)

    def admitted(self, view: View, request: Request) -> None:
        """A request is admitted."""
        self._tbt_limits_s[request.id] = view.tbt_limit_of(request)
        self._due_s[request.id] = request.arrival_s + view.ttft_of(request)

    def observe(self, outcome: StepOutcome, events: Events) -> None:
        """Book first tokens and finished requests."""
        for request_id in events.first_tokens:
            self._deposit.open(request_id, self._tbt_limits_s[request_id], outcome.end_s)
            if outcome.end_s > self._due_s[request_id]:
                self._late.add(request_id)
        for finished in events.finished:
            self._deposit.close(finished.request.id)
            del self._tbt_limits_s[finished.request.id], self._due_s[finished.request.id]
            self._late.discard(finished.request.id)
            self._lengths.finished(finished.request.output_tokens)

    def left(self, request: Request) -> int:
        """Tokens that a waiting request is expected to generate."""
        return self._lengths.left(request, 0)

    def forecasts(
        self, view: View, cost: CostModel, members: Iterable[RequestState]
    ) -> list[Forecast]:
        """One for each of these."""
        return [self._forecast(view, cost, s) for s in members]

    def weight(self, view: View, cost: CostModel, state: RequestState) -> float:
        """What one of its late tokens counts in plans, at most 1."""
        if state.id in self._late:
            return self._lost_weight
        is_hopeless = self._forecast(view, cost, state).is_hopeless
        return self._options.hopeless_weight if is_hopeless else 1.0

    def is_hopeless(
        self,
        cost: CostModel,
        context_tokens: int,
        left: int,
        tbt_limit_s: float,
        balance_s: float = 0.0,
    ) -> bool:
        """Whether a request is too slow even with the machine for itself."""
        alone_s = self._load.alone_s(cost, context_tokens + left // 2)
        return left * (alone_s - tbt_limit_s) > max(0.0, balance_s)

    def miss_chance(self, running: Forecast, delay_s: float, spare: float) -> float:
        """Growth of the probability that a request misses its TPOT limit if it waits `delay_s`.

        It misses it if it ends before it has caught up, which it does by `spare` of the time.
        """
        if running.is_late or running.is_hopeless:
            return 0.0
        before = max(0.0, -running.balance_s) / running.tbt_limit_s
        after = max(0.0, delay_s - running.balance_s) / running.tbt_limit_s
        chances = [
            self._lengths.ends_within(running.request, running.generated, tokens / spare)
            for tokens in (before, after)
        ]
        return chances[1] - chances[0]

    def due_s(self, view: View, cost: CostModel, state: RequestState) -> float | None:
        """When it should have its next token, in seconds; None before its first one."""
        context = state.context_tokens(view.passes)
        left = self._lengths.left(state.request, state.generated_tokens(view.passes))
        return self._next_due_s(cost, state, context, left)

    def _next_due_s(
        self, cost: CostModel, state: RequestState, context_tokens: int, left: int
    ) -> float | None:
        due_s = self._deposit.due_s(state.id)
        if due_s is None or state.id in self._late:
            return due_s
        lag_s = self._deposit.lag_s(state.id)
        if lag_s <= 0:
            return due_s
        gains_s = state.tbt_limit_s - self._load.alone_s(cost, context_tokens + left // 2)
        can_catch_up = lag_s <= self._options.caught_up * left * gains_s
        return due_s - lag_s if can_catch_up else due_s

    def _forecast(self, view: View, cost: CostModel, state: RequestState) -> Forecast:
        context, tbt_limit_s = state.context_tokens(view.passes), state.tbt_limit_s
        generated = state.generated_tokens(view.passes)
        left = self._lengths.left(state.request, generated)
        due_s = self._next_due_s(cost, state, context, left)
        balance_s = 0.0 if due_s is None else due_s - view.now_s
        is_hopeless = self.is_hopeless(cost, context, left, tbt_limit_s, balance_s)
        is_late = state.id in self._late
        return Forecast(
            *(state.request, context, generated, left, tbt_limit_s, balance_s, is_late, is_hopeless)
        )
