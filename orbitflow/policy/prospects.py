"""Who can still meet both limits, and how many tokens each is expected to make.

    late:      its first token came after its limit
    hopeless:  n (T1(c + n / 2) - tau) > max(0, b)      too slow even with the machine for itself

with n tokens to come (`lengths`), c tokens of context, balance b and T1 the pass of one request
alone. The lateness of either is spent on nothing: it counts less, by `--lost-weight` and by
HOPELESS_WEIGHT, and machines are not kept waiting for it.

A reader who had to wait reads on from there, and is content with a token each tau; the TPOT limit
is not, it counts from the first token. So whoever has waited is due by so much earlier, until that
is caught up, or cannot be:

    due = first + g tau      if  lag <= CAUGHT_UP n (tau - T1(c + n / 2)),    lag = anchor - first
          anchor + g tau     if not, or if it is late                         (anchor: `bank`)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from orbitflow.config import LengthsKnown, Tuning
from orbitflow.engine.policy import View
from orbitflow.machine.cost import CostModel
from orbitflow.policy.orbit.load import LoadModel
from orbitflow.policy.output_lengths import OutputLengths
from orbitflow.policy.token_deposit import TokenDeposit
from orbitflow.request import Request, RequestState
from orbitflow.step import Events, StepOutcome

CAUGHT_UP = 0.5  # of what a request could catch up alone, that it is expected to
HOPELESS_WEIGHT = 0.05  # of a late token of who cannot be fed even alone


class Outlook(NamedTuple):
    """A request that is served, as far as one can tell. `left` in tokens, `balance_s` at `now`."""

    request: Request
    context_tokens: int
    generated: int
    left: int
    tau_s: float
    balance_s: float
    is_late: bool
    is_hopeless: bool


class Prospects:
    """What is known, and guessed, of every request that was let in."""

    def __init__(self, bank: TokenDeposit, feeder: LoadModel, tuning: Tuning) -> None:
        self._bank = bank
        self._feeder = feeder
        self._lost_weight = tuning.lost_weight
        self._lengths = OutputLengths(is_oracle=tuning.lengths is LengthsKnown.ORACLE)
        self._taus: dict[int, float] = {}
        self._due_s: dict[int, float] = {}  # of first tokens
        self._late: set[int] = set()

    @property
    def least_tau_s(self) -> float | None:
        """The tightest pace of all that are served; None if nobody is."""
        return min(self._taus.values(), default=None)

    def let_in(self, view: View, request: Request) -> None:
        """A request is let in."""
        self._taus[request.id] = view.tau_of(request)
        self._due_s[request.id] = request.arrival_s + view.ttft_of(request)

    def observe(self, outcome: StepOutcome, events: Events) -> None:
        """Book first tokens and ends."""
        for request_id in events.first_tokens:
            self._bank.open(request_id, self._taus[request_id], outcome.end_s)
            if outcome.end_s > self._due_s[request_id]:
                self._late.add(request_id)
        for finished in events.finished:
            self._bank.close(finished.request.id)
            del self._taus[finished.request.id], self._due_s[finished.request.id]
            self._late.discard(finished.request.id)
            self._lengths.finished(finished.request.output_tokens)

    def left(self, request: Request) -> int:
        """Tokens that a request which waits is expected to make."""
        return self._lengths.left(request, 0)

    def outlooks(
        self, view: View, cost: CostModel, members: Iterable[RequestState]
    ) -> list[Outlook]:
        """Of these."""
        return [self._outlook(view, cost, s) for s in members]

    def weight(self, view: View, cost: CostModel, sequence: RequestState) -> float:
        """What a late token of it counts."""
        if sequence.id in self._late:
            return self._lost_weight
        return HOPELESS_WEIGHT if self._outlook(view, cost, sequence).is_hopeless else 1.0

    def is_hopeless(
        self, cost: CostModel, context_tokens: int, left: int, tau_s: float, balance_s: float = 0.0
    ) -> bool:
        """Whether a request cannot be fed even with the machine for itself."""
        alone_s = self._feeder.alone_s(cost, context_tokens + left // 2)
        return left * (alone_s - tau_s) > max(0.0, balance_s)

    def chance_of_harm(self, reader: Outlook, delay_s: float, spare: float) -> float:
        """Growth of the chance that a reader ends before it has caught up, if it waits `delay_s`
        more; one catches up by `spare` of the time.
        """
        if reader.is_late or reader.is_hopeless:
            return 0.0
        before = max(0.0, -reader.balance_s) / reader.tau_s
        after = max(0.0, delay_s - reader.balance_s) / reader.tau_s
        chances = [
            self._lengths.ends_within(reader.request, reader.generated, tokens / spare)
            for tokens in (before, after)
        ]
        return chances[1] - chances[0]

    def due_s(self, view: View, cost: CostModel, sequence: RequestState) -> float | None:
        """When it is to have its next token; None before the first one is out."""
        context = sequence.context_tokens(view.passes)
        left = self._lengths.left(sequence.request, sequence.generated_tokens(view.passes))
        return self._next_due_s(cost, sequence, context, left)

    def _next_due_s(
        self, cost: CostModel, sequence: RequestState, context_tokens: int, left: int
    ) -> float | None:
        due_s = self._bank.due_s(sequence.id)
        if due_s is None or sequence.id in self._late:
            return due_s
        lag_s = self._bank.lag_s(sequence.id)
        if lag_s <= 0:
            return due_s
        gains_s = sequence.tau_s - self._feeder.alone_s(cost, context_tokens + left // 2)
        return due_s - lag_s if lag_s <= CAUGHT_UP * left * gains_s else due_s

    def _outlook(self, view: View, cost: CostModel, sequence: RequestState) -> Outlook:
        context, tau_s = sequence.context_tokens(view.passes), sequence.tau_s
        generated = sequence.generated_tokens(view.passes)
        left = self._lengths.left(sequence.request, generated)
        late = sequence.id in self._late
        due_s = self._next_due_s(cost, sequence, context, left)
        balance_s = 0.0 if due_s is None else due_s - view.now_s
        hopeless = self.is_hopeless(cost, context, left, tau_s, balance_s)
        return Outlook(sequence.request, context, generated, left, tau_s, balance_s, late, hopeless)
