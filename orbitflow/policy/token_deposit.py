"""The token deposit of every running request, kept up to date as tokens come.

    anchor_r = max_k (generated_k - k tau_r),   due_r = anchor_r + n_r tau_r

n_r tokens are generated and the next one is due at due_r; the balance is due_r - now. A request
that gets no token for that long loses nothing: this is the budget that planners spend. It is the
incremental form of `orbitflow.slo.next_due_s`. Token deposit of arXiv 2601.10729; design
section 4.3.
"""

from __future__ import annotations

from collections.abc import Collection
from math import inf
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.policy.columns import MemberColumns

_TBT_LIMIT_S, _FIRST_S, _ANCHOR_S, _TOKENS, _LAST_S = range(5)


class Deposits(NamedTuple):
    """What several accounts say, each of shape (requests,).

    Before the first token `tokens` is 0 and the next one is never due: `due_s` and `lag_s` are inf.
    """

    tokens: FloatArray
    due_s: FloatArray
    lag_s: FloatArray


class TokenDeposit:
    """Balances of all requests that have a first token.

    With `is_on` false nothing is saved up: the next token is always due a tau after the last.
    """

    def __init__(self, *, is_on: bool = True) -> None:
        self._is_on = is_on
        self._accounts = MemberColumns(5)

    def __contains__(self, request_id: int) -> bool:
        return request_id in self._accounts

    def expect(self, request_id: int, tbt_limit_s: float) -> None:
        """Have an account before the first token, for those who read all of them at once."""
        self._accounts.put(request_id, (tbt_limit_s, 0.0, inf, 0.0, inf))

    def open(self, request_id: int, tbt_limit_s: float, now_s: float) -> None:
        """Start with the first token, which was generated now."""
        if request_id not in self._accounts:
            self.expect(request_id, tbt_limit_s)
        row = self._accounts.row(request_id)
        self._accounts.values[:, row] = (tbt_limit_s, now_s, now_s, 1.0, now_s)

    def add(self, request_ids: Collection[int], times_s: FloatArray) -> None:
        """Book one token for each of these requests at each of these times, in seconds."""
        count = len(times_s)
        if not (count and request_ids):
            return
        accounts = self._accounts
        everybody = len(request_ids) == len(accounts)
        rows = slice(len(accounts)) if everybody else accounts.rows(request_ids)
        held = accounts.values
        tbt_limits_s, tokens = held[_TBT_LIMIT_S, rows], held[_TOKENS, rows]
        anchors_s = _behind_s(times_s, tbt_limits_s) - tokens * tbt_limits_s
        held[_ANCHOR_S, rows] = np.maximum(held[_ANCHOR_S, rows], anchors_s)
        held[_TOKENS, rows] = tokens + count
        held[_LAST_S, rows] = times_s[-1]

    def close(self, request_id: int) -> None:
        """Forget a request, whether it had a first token or not."""
        if request_id in self._accounts:
            self._accounts.drop(request_id)

    def due_s(self, request_id: int) -> float | None:
        """When the next token is due, in seconds; None before the first one is generated."""
        if request_id not in self._accounts:
            return None
        figures = self._accounts.values[:, self._accounts.row(request_id)].tolist()
        tbt_limit_s, _, anchor_s, tokens, last_s = figures
        if not tokens:
            return None
        return float(anchor_s + tokens * tbt_limit_s if self._is_on else last_s + tbt_limit_s)

    def lag_s(self, request_id: int) -> float:
        """Seconds by which all its late tokens together have put back its schedule."""
        figures = self._accounts.values[:, self._accounts.row(request_id)]
        return float(figures[_ANCHOR_S] - figures[_FIRST_S])

    def of(self, request_ids: Collection[int]) -> Deposits:
        """The same of several requests, in this order. They have a first token, or are expected."""
        return self._read(self._accounts.values[:, self._accounts.rows(request_ids)])

    def of_all(self) -> Deposits:
        """The same of all requests, in the order of `MemberColumns`."""
        return self._read(self._accounts.all)

    def late_tokens(self, at_s: float) -> float:
        """Tokens by which all requests together will be late if none gets one until then."""
        tbt_limits_s, due_s = self._accounts.all[_TBT_LIMIT_S], self.of_all().due_s
        return float((np.maximum(0.0, at_s - due_s) / tbt_limits_s).sum())

    def _read(self, figures: FloatArray) -> Deposits:
        tbt_limits_s, first_s, anchors_s, tokens, last_s = figures
        due_s = anchors_s + tokens * tbt_limits_s if self._is_on else last_s + tbt_limits_s
        return Deposits(tokens, due_s, anchors_s - first_s)


def _behind_s(times_s: FloatArray, tbt_limits_s: FloatArray) -> FloatArray | float:
    """By request: the most that one of these tokens comes after a pace of one per tau."""
    if len(times_s) == 1:
        return float(times_s[0])
    limits_s = tbt_limits_s.tolist()
    numbers = np.arange(len(times_s))
    behind = {tau: float((times_s - tau * numbers).max()) for tau in set(limits_s)}
    if len(behind) == 1:
        return behind[limits_s[0]]
    return np.array([behind[tau] for tau in limits_s])
