"""One function per metric, each with its formula and its value where nothing can be measured.

Times are generation times unless the name says delivered. g_1..g_n are a request's token times, tau
its limit on the time between tokens, d_1..d_n the SLO-paced deliveries (`orbitflow.slo`).
Design section 9.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.slo import LATE_TOLERANCE_S, deliver, late


def ttft_s(first_token_s: float, arrival_s: float) -> float:
    """Time to first token: g_1 - arrival, queueing included."""
    return first_token_s - arrival_s


def e2el_s(last_token_s: float, arrival_s: float) -> float:
    """End-to-end latency: g_n - arrival."""
    return last_token_s - arrival_s


def tpot_s(first_token_s: float, last_token_s: float, tokens: int) -> float | None:
    """Time per output token: (g_n - g_1) / (n - 1); None for fewer than two tokens."""
    return None if tokens < 2 else (last_token_s - first_token_s) / (tokens - 1)


def gaps_s(token_times_s: FloatArray) -> FloatArray:
    """Times between tokens (TBT): g_k - g_{k-1}, shape (n - 1,)."""
    return token_times_s[1:] - token_times_s[:-1]


class Pace(NamedTuple):
    """What the delivery of one request at the SLO's pace comes to."""

    late_tokens: int
    due_tokens: int  # tokens after the first
    due_s: float  # tau * due_tokens
    reading_s: float  # sum of max(tau, gap) over the gaps in question
    last_delivered_s: float


def pace(token_times_s: FloatArray, tbt_limit_s: float, *, deposit: bool) -> Pace:
    """Judge one request's tokens.

    With deposit the gaps are those of the SLO-paced delivery, none of which is shorter than tau, so
    reading_s = d_n - d_1. Without, every generation gap stands alone and early tokens do not count.
    """
    due = len(token_times_s) - 1
    delivered = deliver(token_times_s, tbt_limit_s)
    last = float(delivered[-1])
    if deposit:
        late_tokens = int(np.count_nonzero(late(token_times_s, delivered, tbt_limit_s)))
        reading_s = last - float(token_times_s[0])
    else:
        gaps = gaps_s(token_times_s)
        late_tokens = int(np.count_nonzero(gaps > tbt_limit_s + LATE_TOLERANCE_S))
        reading_s = float(np.maximum(gaps, tbt_limit_s).sum())
    return Pace(late_tokens, due, due * tbt_limit_s, reading_s, last)


_ROUNDING = 1e-9


def share(part: float, whole: float) -> float | None:
    """Part / whole; None where there is no whole. A sum that rounds to just above it is all."""
    if whole <= 0:
        return None
    found = part / whole
    return 1.0 if 1 < found < 1 + _ROUNDING else found


def timely_share(due_s: float, reading_s: float) -> float | None:
    """Sum of tau / sum of max(tau, gap) over all due tokens. It is 1 if every token is delivered by
    its deadline, tau after the token before it, and falls with the time by which tokens are late.
    """
    return share(due_s, reading_s)


def tbt_attainment(late_tokens: int, due_tokens: int) -> float | None:
    """The paper's count: 1 - late / due. A late gap counts once however long."""
    return None if due_tokens == 0 else 1 - late_tokens / due_tokens


def meets(value_s: float | None, limit_s: float) -> bool:
    """Whether a time is within its limit; an undefined one (TPOT of a single token) is."""
    return value_s is None or value_s <= limit_s + LATE_TOLERANCE_S
