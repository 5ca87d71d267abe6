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
from math import inf
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import BoolArray, FloatArray
from orbitflow.config import LengthsKnown, Tuning
from orbitflow.engine.policy import View
from orbitflow.machine.cost import CostModel
from orbitflow.policy.columns import MemberColumns
from orbitflow.policy.orbit.load import LoadModel
from orbitflow.policy.orbit.options import DEFAULT, OrbitOptions
from orbitflow.policy.output_lengths import OutputLengths
from orbitflow.policy.token_deposit import Deposits, TokenDeposit
from orbitflow.request import Request, RequestState
from orbitflow.step import Events, StepOutcome

_PROMPT, _OUTPUT, _TBT_LIMIT_S, _FIRST_DUE_S, _IS_LATE = range(5)


class Forecasts(NamedTuple):
    """Admitted requests, as far as one can tell: arrays of shape (requests,), tokens in whole
    numbers. `output_tokens` are the true ones, which the oracle alone reads.
    """

    output_tokens: FloatArray
    generated: FloatArray
    left: FloatArray  # still to come
    middle: FloatArray  # context when half of them have come
    tbt_limits_s: FloatArray
    due_s: FloatArray  # of the next token; inf before the first one
    balances_s: FloatArray  # as of now; 0 before the first token
    is_late: BoolArray
    is_hopeless: BoolArray

    @property
    def least_tbt_limit_s(self) -> float:
        """Infinite for nobody."""
        return float(self.tbt_limits_s.min(initial=inf))


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
        self._admitted = MemberColumns(5)  # in the rows of `_deposit`

    @property
    def least_tbt_limit_s(self) -> float | None:
        """The tightest TBT limit of all admitted requests; None if there are none."""
        limits_s = self._admitted.all[_TBT_LIMIT_S]
        return float(limits_s.min()) if len(limits_s) else None

    def admitted(self, view: View, request: Request) -> None:
        """A request is admitted."""
        tbt_limit_s, due_s = view.tbt_limit_of(request), request.arrival_s + view.ttft_of(request)
        figures = (request.prompt_tokens, request.output_tokens, tbt_limit_s, due_s, False)
        self._admitted.put(request.id, figures)
        self._deposit.expect(request.id, tbt_limit_s)

    def observe(self, outcome: StepOutcome, events: Events) -> None:
        """Book first tokens and finished requests."""
        for request_id in events.first_tokens:
            figures = self._admitted.values[:, self._admitted.row(request_id)]
            self._deposit.open(request_id, float(figures[_TBT_LIMIT_S]), outcome.end_s)
            figures[_IS_LATE] = outcome.end_s > figures[_FIRST_DUE_S]
        for finished in events.finished:
            self._deposit.close(finished.request.id)
            self._admitted.drop(finished.request.id)
            self._lengths.finished(finished.request.output_tokens)

    def left(self, request: Request) -> int:
        """Tokens that a waiting request is expected to generate."""
        return self._lengths.left(request, 0)

    def is_hopeless(self, cost: CostModel, request: Request, tbt_limit_s: float) -> bool:
        """Whether a waiting request is too slow even with the machine for itself."""
        middle = request.prompt_tokens + self.left(request) // 2
        return self._load.alone_s(cost, middle) > tbt_limit_s

    def forecasts(self, view: View, cost: CostModel, members: Iterable[RequestState]) -> Forecasts:
        """Of these, all of them admitted, in this order."""
        ids, admitted = [s.request.id for s in members], self._admitted
        return self._forecasts(
            view.now_s, cost, self._deposit.of(ids), admitted.values[:, admitted.rows(ids)]
        )

    def of_all(self, now_s: float, cost: CostModel) -> Forecasts:
        """Of all that are admitted, in no particular order."""
        return self._forecasts(now_s, cost, self._deposit.of_all(), self._admitted.all)

    def _forecasts(
        self, now_s: float, cost: CostModel, deposits: Deposits, admitted: FloatArray
    ) -> Forecasts:
        tokens, due_s, lags_s = deposits
        prompts, outputs, limits_s, _, late = admitted
        left, is_late = self._lengths.lefts(outputs, tokens), late > 0
        middle, most_lag_s = prompts + tokens + left // 2, lags_s.max(initial=0.0)
        if most_lag_s == inf:  # some are in their prompts, whose first token has a context as well
            middle += tokens == 0
        alone_s = self._load.each_alone_s(cost, middle)
        if most_lag_s > 0:
            most_s = self._options.caught_up * left * (limits_s - alone_s)
            due_s = due_s - np.where((lags_s <= most_s) & ~is_late & (lags_s > 0), lags_s, 0.0)
        balances_s = due_s - now_s
        if most_lag_s == inf:
            balances_s[tokens == 0] = 0.0
        is_hopeless = left * (alone_s - limits_s) > np.maximum(0.0, balances_s)
        return Forecasts(
            *(outputs, tokens, left, middle, limits_s, due_s, balances_s, is_late, is_hopeless)
        )

    def weights(self, running: Forecasts) -> FloatArray:
        """What one late token of each counts in plans, at most 1."""
        hopeless = np.where(running.is_hopeless, self._options.hopeless_weight, 1.0)
        return np.where(running.is_late, self._lost_weight, hopeless)

    def miss_chances(self, running: Forecasts, delay_s: float, spare: float) -> FloatArray:
        """Growth of the probability that each misses its TPOT limit if it waits `delay_s`.

        It misses it if it ends before it has caught up, which it does by `spare` of the time.
        """
        balances_s, limits_s = running.balances_s, running.tbt_limits_s
        after = np.maximum(0.0, delay_s - balances_s) / limits_s
        chances = self._end_within(running, after / spare)
        if (balances_s < 0).any():
            before = np.maximum(0.0, -balances_s) / limits_s
            chances = chances - self._end_within(running, before / spare)
        chances[running.is_late | running.is_hopeless] = 0.0
        return chances

    def _end_within(self, running: Forecasts, tokens: FloatArray) -> FloatArray:
        return self._lengths.end_within(running.output_tokens, running.generated, tokens)
