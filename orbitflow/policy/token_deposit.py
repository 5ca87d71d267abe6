"""The token deposit of every running request, kept up to date as tokens come.

    anchor_r = max_k (generated_k - k tau_r),   due_r = anchor_r + n_r tau_r

n_r tokens are generated and the next one is due at due_r; the balance is due_r - now. A request
that gets no token for that long loses nothing: this is the budget that planners spend. It is the
incremental form of `orbitflow.slo.next_due_s`. Token deposit of arXiv 2601.10729; design
section 4.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import NamedTuple

import numpy as np

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.policy.columns import Columns

_TBT_LIMIT_S, _FIRST_S, _ANCHOR_S, _TOKENS, _LAST_S = range(5)
_NOBODY = (0.0, 0.0, inf, 0.0, inf)


class Deposits(NamedTuple):
    """What the accounts of some requests say, each of shape (requests,).

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
        self._accounts = Columns(_NOBODY)
        self._booked: tuple[Iterable[int], IntArray] = ((), np.zeros(0, dtype=np.intp))

    def open(self, request_id: int, tbt_limit_s: float, now_s: float) -> None:
        """Start with the first token, which was generated now."""
        self._accounts.drop(request_id)
        self._accounts.put(request_id, (tbt_limit_s, now_s, now_s, 1, now_s))

    def add(self, request_ids: Iterable[int], times_s: FloatArray) -> None:
        """Book one token for each of these requests at each of these times, in seconds."""
        count = len(times_s)
        if not count:
            return
        rows = self._rows(request_ids)
        if not len(rows):
            return
        held = self._accounts.values
        tbt_limits_s, tokens = held[_TBT_LIMIT_S, rows], held[_TOKENS, rows]
        anchors_s = _behind_s(times_s, tbt_limits_s) - tokens * tbt_limits_s
        held[_ANCHOR_S, rows] = np.maximum(held[_ANCHOR_S, rows], anchors_s)
        held[_TOKENS, rows] = tokens + count
        held[_LAST_S, rows] = times_s[-1]

    def close(self, request_id: int) -> None:
        """Forget a request, whether it had a first token or not."""
        self._booked = ((), self._booked[1][:0])
        self._accounts.drop(request_id)

    def due_s(self, request_id: int) -> float | None:
        """When the next token is due, in seconds; None before the first one is generated."""
        if request_id not in self._accounts:
            return None
        row, held = self._accounts.row(request_id), self._accounts.values
        tbt_limit_s = float(held[_TBT_LIMIT_S, row])
        if not self._is_on:
            return float(held[_LAST_S, row]) + tbt_limit_s
        return float(held[_ANCHOR_S, row]) + float(held[_TOKENS, row]) * tbt_limit_s

    def lag_s(self, request_id: int) -> float:
        """Seconds by which all its late tokens together have put back its schedule."""
        row, held = self._accounts.row(request_id), self._accounts.values
        return float(held[_ANCHOR_S, row]) - float(held[_FIRST_S, row])

    def of(self, request_ids: Iterable[int]) -> Deposits:
        """The same of several requests, in this order."""
        held = self._accounts.values[:, self._accounts.rows_or_nobody(request_ids)]
        tbt_limits_s, first_s, anchors_s, tokens, last_s = held
        due_s = anchors_s + tokens * tbt_limits_s if self._is_on else last_s + tbt_limits_s
        return Deposits(tokens, due_s, anchors_s - first_s)

    def _rows(self, request_ids: Iterable[int]) -> IntArray:
        """Their rows; the batch's ids are the same object while nobody joins or leaves."""
        ids, rows = self._booked
        if ids is not request_ids:
            rows = self._accounts.rows(request_ids)
            if isinstance(request_ids, tuple):
                self._booked = (request_ids, rows)
        return rows


def _behind_s(times_s: FloatArray, tbt_limits_s: FloatArray) -> FloatArray | float:
    """By request: the most that one of these tokens comes after a pace of one per tau."""
    numbers = np.arange(len(times_s))
    limits_s = tbt_limits_s.tolist()
    behind = {tau: float((times_s - tau * numbers).max()) for tau in set(limits_s)}
    if len(behind) == 1:
        return behind[limits_s[0]]
    return np.array([behind[tau] for tau in limits_s])
