"""Forecasts and accounts of one request at a time, in plain Python: slow and obvious."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple

from orbitflow.machine.cost import CostModel
from orbitflow.memory import KvLimits
from orbitflow.policy.orbit.options import DEFAULT
from orbitflow.request import Request


@dataclass
class Account:
    """One admitted request: when its tokens came, in seconds."""

    request: Request
    tbt_limit_s: float
    first_due_s: float
    times_s: list[float] = field(default_factory=list)
    anchor_s: float = 0.0

    @property
    def generated(self) -> int:
        return len(self.times_s)

    @property
    def is_late(self) -> bool:
        return bool(self.times_s) and self.times_s[0] > self.first_due_s

    @property
    def due_s(self) -> float | None:
        """Of its next token, by its reader."""
        return self.anchor_s + self.generated * self.tbt_limit_s if self.times_s else None

    def add(self, times_s: list[float]) -> None:
        """Tokens come; the first is what opens the account."""
        if not self.times_s:
            self.anchor_s, self.times_s = times_s[0], times_s[:1]
            return
        behind_s = max(t - self.tbt_limit_s * k for k, t in enumerate(times_s))
        self.anchor_s = max(self.anchor_s, behind_s - self.generated * self.tbt_limit_s)
        self.times_s = [*self.times_s, *times_s]


def left(finished: list[int], generated: int) -> int:
    """Tokens still to come, by requests that have finished."""
    longer = sorted(n for n in finished if n > generated)
    if not finished:
        return max(DEFAULT.first_tokens, generated)
    if not longer:
        return max(1, generated)
    return longer[int(DEFAULT.quantile * (len(longer) - 1))] - generated


def ends_within(finished: list[int], generated: int, tokens: float) -> float:
    """The probability of a request to end within so many tokens more."""
    longer = sorted(n for n in finished if n > generated)
    if tokens <= 0:
        return 0.0
    if not longer:
        return min(1.0, tokens / left(finished, generated))
    return bisect_right(longer, generated + tokens) / len(longer)


def alone_s(cost: CostModel, limits: KvLimits, ring_groups: int, context_tokens: int) -> float:
    """A pass of one request alone."""
    layers = limits.layers
    pages = layers * -(-context_tokens // limits.page_tokens)
    pass_s = cost.decode_pass_s(1, context_tokens)
    over = pages - limits.gpu_pages
    if over <= 0:
        return pass_s
    streamed = (over + ring_groups * pages / layers) / (1 - ring_groups / layers)
    return max(pass_s, streamed * cost.page_s)


class Forecast(NamedTuple):
    left: int
    middle: int
    due_s: float | None
    balance_s: float
    is_late: bool
    is_hopeless: bool


def forecast(
    one: Account,
    finished: list[int],
    now_s: float,
    cost: CostModel,
    limits: KvLimits,
    ring_groups: int,
) -> Forecast:
    """What `orbit` expects of one request."""
    to_come = left(finished, one.generated)
    middle = one.request.prompt_tokens + max(1, one.generated) + to_come // 2
    pass_s, due_s = alone_s(cost, limits, ring_groups, middle), one.due_s
    if due_s is not None and not one.is_late:
        lag_s = one.anchor_s - one.times_s[0]
        if 0 < lag_s <= DEFAULT.caught_up * to_come * (one.tbt_limit_s - pass_s):
            due_s -= lag_s
    balance_s = 0.0 if due_s is None else due_s - now_s
    is_hopeless = to_come * (pass_s - one.tbt_limit_s) > max(0.0, balance_s)
    return Forecast(to_come, middle, due_s, balance_s, one.is_late, is_hopeless)


def miss_chance(
    one: Account, ahead: Forecast, finished: list[int], delay_s: float, spare: float
) -> float:
    """Growth of the probability that it misses its TPOT limit if it waits `delay_s`."""
    if ahead.is_late or ahead.is_hopeless:
        return 0.0
    before = max(0.0, -ahead.balance_s) / one.tbt_limit_s / spare
    after = max(0.0, delay_s - ahead.balance_s) / one.tbt_limit_s / spare
    chances = [ends_within(finished, one.generated, tokens) for tokens in (before, after)]
    return chances[1] - chances[0]
