"""Admission of `orbit`: earliest deadline first, up to a load and a number of SLOs put at risk.

A candidate (`deadlines` has the order) is admitted if both hold:

    load with it <= limit (1 - share of time that prompts take)
    expected SLO misses of running requests because of its prompt <= allowed

Load (`load`) is the share of time in which everybody gets their tokens in time. `limit` is
`--late-load` for a request that has missed its TTFT limit, 1 for one that has not, and close to its
last moment

    1 + recovery (1 - pass alone / tau),   times few / n among n > few if late requests wait

because what is overdone must be caught up in the time that is left over, and while late requests
wait none is. Late requests also leave 1 - `--late-load` of the batch's places to the others.

A prompt that makes at most `late_tokens` late over all running requests passes the second test.
Otherwise a late request waits. For one in time the expected misses are summed: for each running
request the growth of the probability that it ends before it has caught up (`forecast`). Allowed
are a quarter of a request while everybody who waits has time, then about one for one, and more for
the longest prompts while these get less than their fair share.

The request that has waited longest is not kept out for ever: once it is its turn and it does not
fit, it is admitted when as many others have missed their limits meanwhile as its prompt would put
at risk. While the longest prompts are owed their share the server is emptied for it instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import exp

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.config import Tuning
from orbitflow.engine.policy import View
from orbitflow.machine.cost import CostModel
from orbitflow.memory import KvLimits
from orbitflow.policy.orbit.deadlines import Deadlines, FairShare, NextRequest
from orbitflow.policy.orbit.forecast import Forecaster, Forecasts
from orbitflow.policy.orbit.load import Demand, Demands, LoadModel
from orbitflow.policy.orbit.options import DEFAULT, OrbitOptions
from orbitflow.request import Phase, Request
from orbitflow.step import Step, StepOutcome


class DeadlineAdmission:
    """Decides whom to admit. Without a gate the first by deadline that the host has room for."""

    def __init__(
        self,
        limits: KvLimits,
        forecaster: Forecaster,
        load: LoadModel,
        tuning: Tuning,
        options: OrbitOptions = DEFAULT,
    ) -> None:
        self._limits = limits
        self._forecaster = forecaster
        self._load = load
        self._options = options
        self._has_gate = tuning.gate
        self._late_load = tuning.late_load
        self._share = FairShare(options)
        self._deadlines = Deadlines(self._share, options)
        self._prefill_share = 0.0
        self.has_refused = False  # somebody, when last asked

    def newcomer(self, view: View, cost: CostModel) -> Request | None:
        """The request to admit now, if any. One prompt at a time."""
        self.has_refused = False
        if view.batch_room <= 0 or any(s.phase is Phase.PREFILL for s in view.active):
            return None
        running: Forecasts | None = None
        for candidate in self._candidates(view, cost):
            request = candidate.request
            if view.account.host_free < self._limits.whole_pages(request.final_tokens):
                continue
            if not self._has_gate or not (view.active or view.paused):
                return request
            if running is None:
                running = self._forecaster.of_all(view.now_s, cost)
            if self._is_affordable(view, cost, running, candidate) or self._has_waited_enough(
                cost, running, request
            ):
                return request
            self.has_refused = True
        return None

    def admitted(self, view: View, request: Request) -> None:
        """A request is admitted; the view still has it among the waiting."""
        is_oldest = request.id == next(iter(view.waiting)).id
        self._deadlines.admitted(request, is_oldest=is_oldest)

    def observe(self, cost: CostModel, step: Step, outcome: StepOutcome) -> None:
        """Average the share of time that prompts take."""
        took_s, tbt_limit_s = outcome.end_s - outcome.start_s, self._forecaster.least_tbt_limit_s
        if took_s <= 0 or tbt_limit_s is None:
            return
        prompts_s = min(took_s, sum(cost.chunk_s(c.tokens, c.start) for c in step.chunks))
        kept = exp(-took_s / (self._options.prefill_memory_tau * tbt_limit_s))
        self._prefill_share = kept * self._prefill_share + (1 - kept) * prompts_s / took_s

    # -- inside ------------------------------------------------------------------------------------

    def _candidates(self, view: View, cost: CostModel) -> Iterator[NextRequest]:
        """By deadline; those that are too slow even alone come last, and count as late."""
        hopeless = []
        for candidate in self._deadlines.candidates(view, cost.prefill_s):
            request = candidate.request
            if self._forecaster.is_hopeless(cost, request, view.tbt_limit_of(request)):
                hopeless.append(NextRequest(request, None))
            else:
                yield candidate
        yield from hopeless

    def _is_affordable(
        self, view: View, cost: CostModel, running: Forecasts, candidate: NextRequest
    ) -> bool:
        """Whether the load allows it, and the SLOs that its prompt puts at risk."""
        request, is_in_time = candidate.request, candidate.starts_s is not None
        if not is_in_time and self._is_kept_free(view, len(running.left)):
            return False
        delay_s = cost.prefill_s(request.prompt_tokens)
        late_tokens = np.maximum(0.0, delay_s - running.balances_s) / running.tbt_limits_s
        late = sum(late_tokens[~running.is_hopeless].tolist())
        makes_few_late = late <= self._options.late_tokens
        if not makes_few_late and not is_in_time:
            return False
        middle = request.prompt_tokens + self._forecaster.left(request) // 2
        newcomer, least_s = Demand(middle, view.tbt_limit_of(request)), running.least_tbt_limit_s
        load = self._load.if_resident(cost, running.middle, least_s, newcomer)
        if load is None:
            standing = Demands(running.middle, self._paces_s(running, delay_s))
            load = self._load.of(cost, standing, newcomer)
        limit = self._limit(view, cost, candidate, len(running.left) + 1)
        if load > limit * (1 - self._prefill_share):
            return False
        if makes_few_late:
            return True
        spare = 1 - load - self._prefill_share
        allowed = self._allowed(view.now_s, view.tbt_limit_of(request), request.prompt_tokens)
        return self._misses(running, delay_s, spare) <= allowed

    def _has_waited_enough(self, cost: CostModel, running: Forecasts, request: Request) -> bool:
        """Whether as many have missed their limits while it did not fit as its prompt risks."""
        if not self._deadlines.is_turn_of_oldest or self._share.least_owed is not None:
            return False
        delay_s, spare = cost.prefill_s(request.prompt_tokens), 1 - self._prefill_share
        return self._deadlines.missed >= max(1.0, self._misses(running, delay_s, spare))

    def _misses(self, running: Forecasts, delay_s: float, spare: float) -> float:
        """Running requests expected to miss their SLO because of a prompt of `delay_s`."""
        spare = max(self._options.least_spare, spare)
        return float(sum(self._forecaster.miss_chances(running, delay_s, spare).tolist()))

    def _is_kept_free(self, view: View, members: int) -> bool:
        """Whether the next place of the batch is for requests that are in time."""
        return members >= self._late_load * (members + view.batch_room)

    def _allowed(self, now_s: float, tbt_limit_s: float, prompt_tokens: int) -> float:
        """SLO misses of running requests that a request in time may cause."""
        options = self._options
        if self._share.is_owed(prompt_tokens):
            return options.owed_score
        if self._deadlines.slack_s(now_s) >= options.hurry_tau * tbt_limit_s:
            return options.patient_score
        return options.hurried_score if self._deadlines.keeps_up else options.behind_score

    def _limit(self, view: View, cost: CostModel, candidate: NextRequest, count: int) -> float:
        """Load up to which a candidate is admitted that makes `count` requests."""
        options, starts_s = self._options, candidate.starts_s
        if starts_s is None:
            return self._late_load
        tbt_limit_s = view.tbt_limit_of(candidate.request)
        if starts_s - view.now_s > options.urgent_tau * tbt_limit_s:
            return 1.0
        alone_s = cost.decode_pass_s(1, candidate.request.prompt_tokens)
        recovery = recovery_among(count, options, keeps_up=self._deadlines.keeps_up)
        return 1 + recovery * max(0.0, 1 - alone_s / tbt_limit_s)

    def _paces_s(self, running: Forecasts, delay_s: float) -> FloatArray:
        """Seconds that each may take per token after a prompt of `delay_s`."""
        balances_s = np.maximum(0.0, running.balances_s - delay_s)
        paces_s = running.tbt_limits_s + self._options.deposit_share * balances_s / running.left
        paces_s[running.is_hopeless] *= self._options.hopeless_pace
        return paces_s


def recovery_among(count: int, options: OrbitOptions, *, keeps_up: bool) -> float:
    """Load beyond 1 that may be risked among so many requests, by the share of time left over."""
    return options.recovery * (1.0 if keeps_up else min(1.0, options.few / count))
