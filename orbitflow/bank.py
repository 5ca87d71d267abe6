"""The token deposit, kept up to date as tokens come: who is ahead of its reader, and by how much.

    anchor_r = max_k (generated_k - k tau_r),   due_r = anchor_r + n_r tau_r

n_r tokens are out and the reader wants the next one at due_r; the balance is due_r - now. Left out
for that long, a request loses nothing: this is the budget that the planner spends. The incremental
form of `orbitflow.slo.next_due_s`. Token deposit of arXiv 2601.10729; design section 4.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from orbitflow.arrays import FloatArray


@dataclass(slots=True)
class _Reader:
    """One request's reader."""

    tau_s: float
    first_s: float
    anchor_s: float
    tokens: int
    last_s: float


class Bank:
    """Balances of all requests that have a first token.

    With `banks` off nothing can be saved up: the next token is always due a tau after the last.
    """

    def __init__(self, *, banks: bool = True) -> None:
        self._banks = banks
        self._readers: dict[int, _Reader] = {}

    def open(self, request_id: int, tau_s: float, now_s: float) -> None:
        """A first token is out."""
        self._readers[request_id] = _Reader(tau_s, now_s, now_s, 1, now_s)

    def add(self, request_ids: Iterable[int], times_s: FloatArray) -> None:
        """Every one of these requests got a token at every one of these times."""
        count = len(times_s)
        if not count:
            return
        behind: dict[float, float] = {}  # by tau: the most that a token comes after its pace
        last_s = float(times_s[-1])
        for request_id in request_ids:
            reader = self._readers[request_id]
            tau_s = reader.tau_s
            if tau_s not in behind:
                behind[tau_s] = float((times_s - tau_s * np.arange(count)).max())
            anchor_s = behind[tau_s] - reader.tokens * tau_s
            if anchor_s > reader.anchor_s:
                reader.anchor_s = anchor_s
            reader.tokens += count
            reader.last_s = last_s

    def close(self, request_id: int) -> None:
        """The request is over."""
        self._readers.pop(request_id, None)

    def due_s(self, request_id: int) -> float | None:
        """When its reader wants the next token; None before the first one is out."""
        reader = self._readers.get(request_id)
        if reader is None:
            return None
        if not self._banks:
            return reader.last_s + reader.tau_s
        return reader.anchor_s + reader.tokens * reader.tau_s

    def lag_s(self, request_id: int) -> float:
        """Seconds that its reader has waited in all, once it had a first token."""
        reader = self._readers[request_id]
        return reader.anchor_s - reader.first_s
