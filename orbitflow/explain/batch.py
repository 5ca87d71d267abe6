"""What a policy decides for running requests of given contexts.

A request whose next token is due in b seconds has n = max(1, ceil(b / tau)) tokens: the first came
at now + b - n tau, the others just now. The policy meets each request once, alone on an empty
machine, as it would have on arrival, and is told of its tokens; then it decides for all of them. A
policy that places requests only on admission is asked with all of them waiting instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.engine.guard import ask
from orbitflow.engine.policy import Policy, View
from orbitflow.engine.queues import Queues
from orbitflow.errors import UserError
from orbitflow.explain.decision import DecisionShown, NotShown
from orbitflow.explain.explain import Moment, describe
from orbitflow.explain.seated_engine import InlinePlanning, Seat, SeatedCore
from orbitflow.memory import KvAccount
from orbitflow.request import Request, RequestState
from orbitflow.scenario import Scenario
from orbitflow.session import outfit
from orbitflow.step import Events, Step, StepOutcome, TokenSegment
from orbitflow.traces.trace import MAX_TOKENS
from orbitflow.units import format_bytes

OUTPUT_TOKENS = 256  # that each request has still to generate, unless said otherwise
ROUNDING = 1e-9  # of a token
LEAST_CONTEXT = 2  # a prompt and the token being decoded


@dataclass(frozen=True, slots=True)
class Batch:
    """The contexts of running requests, the time until each one's next token is due, and the
    prompts of waiting requests.
    """

    contexts: tuple[int, ...]
    balances_s: tuple[float, ...] = ()  # one for each context, or none: 0 for all
    waiting: tuple[int, ...] = ()
    output_tokens: int = OUTPUT_TOKENS

    def check_numbers(self) -> None:
        """Raise a UserError for numbers that make no sense on any machine."""
        if not (self.contexts or self.waiting):
            raise UserError("--contexts is empty: give lengths in tokens, such as 2000,8000")
        if not 1 <= self.output_tokens <= MAX_TOKENS:
            raise UserError(
                f"--output-tokens {self.output_tokens} must be from 1 to {MAX_TOKENS:,}"
            )
        for option, least, tokens in self._lengths():
            if not least <= tokens <= MAX_TOKENS:
                raise UserError(f"{option} {tokens} must be from {least} to {MAX_TOKENS:,} tokens")
        if self.balances_s and len(self.balances_s) != len(self.contexts):
            raise UserError(
                f"--balances names {len(self.balances_s)} requests and --contexts "
                f"{len(self.contexts)}: give one balance for each"
            )

    def check_batch(self, max_batch: int | None) -> None:
        """Raise a UserError if so many cannot run at once."""
        if max_batch is not None and len(self.contexts) > max_batch:
            raise UserError(
                f"--contexts names {len(self.contexts)} running requests, --max-batch allows "
                f"{max_batch}: raise it (0 = no limit)"
            )

    @property
    def longest(self) -> int:
        """The longest context or prompt."""
        return max((*self.contexts, *self.waiting))

    def _lengths(self) -> Iterator[tuple[str, int, int]]:
        """Every length with its option and the least that it may be."""
        yield from (("--contexts", LEAST_CONTEXT, tokens) for tokens in self.contexts)
        yield from (("--waiting", 1, tokens) for tokens in self.waiting)

    def seats(self, tbt_limit_s: float) -> list[Seat]:
        """The running requests at time 0. Raise a UserError for a balance that no context has."""
        balances = self.balances_s or (0.0,) * len(self.contexts)
        seats = []
        for number, (context, balance_s) in enumerate(zip(self.contexts, balances, strict=True)):
            tokens = max(1, ceil(balance_s / tbt_limit_s - ROUNDING))
            if tokens >= context:
                raise UserError(
                    f"--balances {balance_s:g}s is {tokens} tokens ahead at {tbt_limit_s:.3g} s "
                    f"each, but request {number} has a context of {context}: at most "
                    f"{(context - 1) * tbt_limit_s:.4g}s"
                )
            times = np.zeros(tokens)
            times[0] = balance_s - tokens * tbt_limit_s
            request = Request(number, 0.0, context - tokens, tokens + self.output_tokens)
            seats.append(Seat(request, times))
        return seats

    def arrivals(self, *, all_waiting: bool) -> list[Request]:
        """The waiting requests; with `all_waiting` the running ones first, as if just arrived."""
        prompts = [*(c - 1 for c in self.contexts if all_waiting), *self.waiting]
        first = 0 if all_waiting else len(self.contexts)
        output = 1 + self.output_tokens
        return [Request(first + row, 0.0, prompt, output) for row, prompt in enumerate(prompts)]


def explain_batch(scenario: Scenario, name: str, batch: Batch) -> DecisionShown | NotShown:
    """What the policy called `name` decides for these requests on the scenario's machine."""
    policy, tbt_limit_s = outfit(scenario, name), scenario.slo.tbt_limit_s
    planned = InlinePlanning(policy)
    core = SeatedCore(
        planned,
        scenario.limits,
        tbt_limit_s=tbt_limit_s,
        max_batch=scenario.max_batch,
        prefill_chunk=scenario.config.prefill_chunk,
    )
    all_waiting = policy.places_at_admission
    seats = [] if all_waiting else batch.seats(tbt_limit_s)
    arrivals = batch.arrivals(all_waiting=all_waiting)
    for request in (*(seat.request for seat in seats), *arrivals):
        if (reason := core.submit(request, 0.0)) is not None:
            never = f"request {request.id} can never be served, as it {reason}"
            return NotShown(name, f"{never}: shorten it, or give the machine more")
    core.seat(seats, 0.0)
    if core.account.host_free < 0:
        return NotShown(name, _no_host_memory(core, scenario.true.page_bytes))
    for seat in seats:
        _meet(policy, core, seat)
    core.next_step(0.0)
    notes: tuple[str, ...] = ()
    if all_waiting and batch.contexts:
        notes = ("the policy places requests only on admission: asked with all of them waiting",)
    return describe(core, policy, scenario, Moment(0.0), notes, planned.solved)


def _no_host_memory(core: SeatedCore, page_bytes: int) -> str:
    needs, limit = core.account.host_used, core.limits.host_pages
    assert limit is not None
    return (
        f"the running requests need {format_bytes(needs * page_bytes)} of host memory, there is "
        f"room for {format_bytes(limit * page_bytes)}: raise --host-memory"
    )


def _meet(policy: Policy, core: SeatedCore, seat: Seat) -> None:
    """Let a policy meet one request on its own, and tell it of the tokens so far."""
    request, times = seat
    queues = Queues(None, 0)
    queues.submit(request)
    tbt_limit_s = core.queues.active[request.id].tbt_limit_s
    account = KvAccount(core.limits)
    ask(
        policy.decide,
        View(queues, account, _no_times, tbt_limit_s, data_plane=policy.data_plane),
    )
    nothing = np.empty(0)
    _tell(policy, (), nothing, float(times[0]), first=(request.id,))
    if len(times) > 1:
        _tell(policy, (request.id,), times[1:], float(times[-1]))


def _tell(
    policy: Policy,
    ids: tuple[int, ...],
    times_s: FloatArray,
    end_s: float,
    first: tuple[int, ...] = (),
) -> None:
    """Tell a policy of tokens, but not how long they took, so that it learns no speeds."""
    step = Step(0, (), ids, 0, None, (), 0, (), len(times_s), 0, False)
    outcome = StepOutcome(end_s, times_s, 0.0, 0.0, 0, 0, (), end_s)
    ask(policy.observe, step, outcome, Events((), first, TokenSegment(ids, times_s), (), (), ()))


def _no_times(state: RequestState) -> FloatArray:
    return np.empty(0)
