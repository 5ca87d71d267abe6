"""The token deposit of every running request, kept up to date as tokens come.

    anchor_r = max_k (generated_k - k tau_r),   due_r = anchor_r + n_r tau_r

n_r tokens are generated and the next one is due at due_r; the balance is due_r - now. A request
that gets no token for that long loses nothing: this is the budget that planners spend. It is the
incremental form of `orbitflow.slo.next_due_s`. Token deposit of arXiv 2601.10729; design
section 4.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from orbitflow.arrays import FloatArray


@dataclass(slots=True)
class _Account:
    """The tokens of one request."""

    tbt_limit_s: float
    first_s: float
    anchor_s: float
    tokens: int
    last_s: float


class TokenDeposit:
    """Balances of all requests that have a first token.

    With `is_on` false nothing is saved up: the next token is always due a tau after the last.
    """

    def __init__(self, *, is_on: bool = True) -> None:
        self._is_on = is_on
        self._accounts: dict[int, _Account] = {}

    def open(self, request_id: int, tbt_limit_s: float, now_s: float) -> None:
        """Start with the first token, which was generated now."""
        self._accounts[request_id] = _Account(tbt_limit_s, now_s, now_s, 1, now_s)

    def add(self, request_ids: Iterable[int], times_s: FloatArray) -> None:
        """Book one token for each of these requests at each of these times, in seconds."""
        count = len(times_s)
        if not count:
            return
        behind: dict[float, float] = {}  # by tau: the most that a token comes after its pace
        last_s = float(times_s[-1])
        for request_id in request_ids:
            account = self._accounts[request_id]
            tbt_limit_s = account.tbt_limit_s
            if tbt_limit_s not in behind:
                behind[tbt_limit_s] = float((times_s - tbt_limit_s * np.arange(count)).max())
            anchor_s = behind[tbt_limit_s] - account.tokens * tbt_limit_s
            if anchor_s > account.anchor_s:
                account.anchor_s = anchor_s
            account.tokens += count
            account.last_s = last_s

    def close(self, request_id: int) -> None:
        """Forget a request, whether it had a first token or not."""
        self._accounts.pop(request_id, None)

    def due_s(self, request_id: int) -> float | None:
        """When the next token is due, in seconds; None before the first one is generated."""
        account = self._accounts.get(request_id)
        if account is None:
            return None
        if not self._is_on:
            return account.last_s + account.tbt_limit_s
        return account.anchor_s + account.tokens * account.tbt_limit_s

    def lag_s(self, request_id: int) -> float:
        """Seconds by which all its late tokens together have put back its schedule."""
        account = self._accounts[request_id]
        return account.anchor_s - account.first_s
