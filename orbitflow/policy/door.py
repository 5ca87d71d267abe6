"""The door of `orbit`: whom to let in, if anybody.

    load <= limit (1 - share of time that prompts take)            everybody can be fed
    sum over readers of the growth of P(ends before it has caught up) <= harm

Candidates come by deadline (`deadlines`); those too slow even alone come last, and as if late.
`limit` is `--late-load` for late ones, who leave the rest, and as much of the batch's places, to
fresh ones to come; FRESH_LOAD for those who can still make their TTFT limit, and within URGENT tau
of the last moment

    1 + RECOVERY (1 - pass alone / tau),    times FEW / n of it among n > FEW if late ones wait

What is overdone can be caught up only by the share of time that is left over, and where late ones
wait nothing is; a guess of the load of many is off by less than one of few. The second line is
asked for a fresh one whose prompt would make more than HURT_TOKENS late; of a late one that is too
much already. `harm` is HARM while all of the fresh can wait for HURRY tau; then one request that
meets its limits is worth another that may miss them, or BEHIND_HARM of it where late ones wait too:
the machine cannot do it all, and the next may cost less. The longest prompts are worth OWED_HARM
where they get less than their share (`fair_share`).

Whose turn it is, as it has waited longest, is let in at last though it does not fit: when as many
others have missed their limits meanwhile as would by its prompt. But not while the longest prompts
are owed something, for a server that empties is what they need.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import exp

from orbitflow.config import Tuning
from orbitflow.engine.policy import View
from orbitflow.machine.cost import CostModel
from orbitflow.memory import KvLimits
from orbitflow.policy.orbit.deadlines import Candidate, Deadlines, FairShare
from orbitflow.policy.orbit.forecast import Forecast, Forecaster
from orbitflow.policy.orbit.load import Demand, LoadModel
from orbitflow.request import Phase, Request, RequestState
from orbitflow.step import Step, StepOutcome

RECOVERY = 1.75  # load beyond 1 that is risked, by the share of time left to catch up in
FRESH_LOAD = 1.0  # up to which requests are let in that can still make their TTFT limit
URGENT = 128.0  # tau before it is too late for that, when more is risked for them
FEW = 6  # requests, among whom so much is risked also while late ones wait
HURT_TOKENS = 8.0  # that any prompt may make late, over all who are being read to
HARM = 0.25  # requests that may miss their limits for one that meets them, and could wait
HURRY = 16.0  # tau before waiting costs one of the fresh its limit, when more harm is done for it:
HURRIED_HARM = 1.0  # where the server keeps up with what comes,
BEHIND_HARM = 0.6  # and where it does not
OWED_HARM = 2.0  # and for the longest prompts, where they are owed it
LEAST_SPARE = 0.05  # share of time that is always counted on for catching up
BANK_SHARE = 0.8  # of a balance that is counted on
HOPELESS_PACE = 8.0  # times tau: how slowly those too slow even alone are fed
PREFILL_MEMORY = 256  # tau over which the share of time that prompts take is averaged


class Door:
    """Decides whom to let in. Without a gate whoever comes first by deadline."""

    def __init__(
        self, limits: KvLimits, prospects: Forecaster, feeder: LoadModel, tuning: Tuning
    ) -> None:
        self._limits = limits
        self._prospects = prospects
        self._feeder = feeder
        self._has_gate = tuning.gate
        self._late_load = tuning.late_load
        self._share = FairShare()
        self._deadlines = Deadlines(self._share)
        self._prefill_share = 0.0
        self.has_refused = False  # somebody, when last asked

    def newcomer(self, view: View, cost: CostModel, members: list[RequestState]) -> Request | None:
        """The next to let in."""
        self.has_refused = False
        if view.batch_room <= 0 or any(s.state is Phase.PREFILL for s in members):
            return None
        readers: list[Forecast] | None = None
        for candidate in self._candidates(view, cost):
            request = candidate.request
            if view.account.host_free < self._limits.whole_pages(request.final_tokens):
                continue
            if not members or not self._has_gate:
                return request
            if readers is None:
                readers = self._prospects.outlooks(view, cost, members)
            if self._is_welcome(view, cost, readers, candidate) or self._has_cost_enough(
                cost, readers, request
            ):
                return request
            self.has_refused = True
        return None

    def let_in(self, view: View, request: Request) -> None:
        """One of them is let in."""
        is_oldest = request.id == next(iter(view.waiting)).id
        self._deadlines.admitted(request, is_oldest=is_oldest)

    def observe(self, cost: CostModel, step: Step, outcome: StepOutcome) -> None:
        """The share of time that prompts take, averaged over PREFILL_MEMORY tau."""
        took_s, tau_s = outcome.end_s - outcome.start_s, self._prospects.least_tau_s
        if took_s <= 0 or tau_s is None:
            return
        prompts_s = min(took_s, sum(cost.chunk_s(c.tokens, c.start) for c in step.chunks))
        kept = exp(-took_s / (PREFILL_MEMORY * tau_s))
        self._prefill_share = kept * self._prefill_share + (1 - kept) * prompts_s / took_s

    # -- inside ------------------------------------------------------------------------------------

    def _candidates(self, view: View, cost: CostModel) -> Iterator[Candidate]:
        """By deadline; those who cannot be fed even alone come last."""
        hopeless = []
        for candidate in self._deadlines.candidates(view, cost.prefill_s):
            request, left = candidate.request, self._prospects.left(candidate.request)
            tau_s, prompt = view.tau_of(request), request.prompt_tokens
            if self._prospects.is_hopeless(cost, prompt, left, tau_s):
                hopeless.append(Candidate(request, None))
            else:
                yield candidate
        yield from hopeless

    def _is_welcome(
        self, view: View, cost: CostModel, readers: list[Forecast], candidate: Candidate
    ) -> bool:
        """Whether everybody can still be fed, and few lose by its prompt."""
        request, is_fresh = candidate.request, candidate.starts_s is not None
        if not is_fresh and self._is_for_fresh_ones(view, len(readers)):
            return False
        delay_s = cost.prefill_s(request.prompt_tokens)
        hurt = sum(max(0.0, delay_s - r.balance_s) / r.tau_s for r in readers if not r.is_hopeless)
        if hurt > HURT_TOKENS and not is_fresh:
            return False
        left = self._prospects.left(request)
        mouths = [_mouth(reader, delay_s) for reader in readers]
        mouths.append(Demand(request.prompt_tokens + left // 2, view.tau_of(request)))
        load = self._feeder.load(cost, mouths)
        limit = self._limit(view, cost, candidate, len(mouths))
        if load > limit * (1 - self._prefill_share):
            return False
        if hurt <= HURT_TOKENS:
            return True
        spare = 1 - load - self._prefill_share
        bearable = self._bearable(view.now_s, view.tau_of(request), request.prompt_tokens)
        return self._harm(readers, delay_s, spare) <= bearable

    def _has_cost_enough(self, cost: CostModel, readers: list[Forecast], request: Request) -> bool:
        """Whether as many have missed their limits while it did not fit as its prompt harms."""
        if not self._deadlines.is_turn_of_oldest or self._share.least_owed is not None:
            return False
        delay_s, spare = cost.prefill_s(request.prompt_tokens), 1 - self._prefill_share
        return self._deadlines.missed >= max(1.0, self._harm(readers, delay_s, spare))

    def _harm(self, readers: list[Forecast], delay_s: float, spare: float) -> float:
        """Requests that are expected to miss their limits for a prompt of `delay_s`."""
        spare = max(LEAST_SPARE, spare)
        return sum(self._prospects.chance_of_harm(r, delay_s, spare) for r in readers)

    def _is_for_fresh_ones(self, view: View, members: int) -> bool:
        """Whether the next place of the batch is."""
        return members >= self._late_load * (members + view.batch_room)

    def _bearable(self, now_s: float, tau_s: float, prompt_tokens: int) -> float:
        """Requests that may miss their limits for a fresh one."""
        if self._share.is_owed(prompt_tokens):
            return OWED_HARM
        if self._deadlines.slack_s(now_s) >= HURRY * tau_s:
            return HARM
        return HURRIED_HARM if self._deadlines.keeps_up else BEHIND_HARM

    def _limit(self, view: View, cost: CostModel, candidate: Candidate, count: int) -> float:
        """Up to which load a request is let in that makes so many."""
        if candidate.starts_s is None:
            return self._late_load
        tau_s = view.tau_of(candidate.request)
        if candidate.starts_s - view.now_s > URGENT * tau_s:
            return FRESH_LOAD
        alone_s = cost.decode_pass_s(1, candidate.request.prompt_tokens)
        risked = RECOVERY * share_risked(count, keeps_up=self._deadlines.keeps_up)
        return 1 + risked * max(0.0, 1 - alone_s / tau_s)


def share_risked(count: int, *, keeps_up: bool) -> float:
    """Of RECOVERY, with so many to feed."""
    return 1.0 if keeps_up else min(1.0, FEW / count)


def _mouth(reader: Forecast, delay_s: float) -> Demand:
    """A reader to be fed after a prompt of `delay_s`."""
    pace_s = reader.tau_s + BANK_SHARE * max(0.0, reader.balance_s - delay_s) / reader.left
    if reader.is_hopeless:
        pace_s *= HOPELESS_PACE
    return Demand(reader.context_tokens + reader.left // 2, pace_s)
