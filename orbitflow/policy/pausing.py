"""Pausing: which request may be paused, for how long, and why none starves.

A paused request loses nothing until its balance is spent. Planners pause by the late tokens that it
costs, or in a fixed order. Ageing bounds what these sums alone would not: a request whose next
token is late by PATIENCE tau is owed one, the longest wait first. The first that is owed must run
in every plan, and the window of that plan ends after OWED_PASSES. So between two tokens of a
request lie

    at most   b + PATIENCE tau + (RESTED_PASSES + n OWED_PASSES) P

with b its balance after the first of them, n requests in the server and P the longest time without
a decode pass, prompts and moves included: the window under way ends after at most RESTED_PASSES,
then each of at most n - 1 that are owed before it has one window.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orbitflow.config import Victim
from orbitflow.policy.token_deposit import TokenDeposit
from orbitflow.request import RequestState as Served

PATIENCE = 64.0  # tau
OWED_PASSES = 16
RESTED_PASSES = 32  # longest window while a paused request makes late tokens
_MIX = 2654435761  # Knuth's multiplicative hash


def first_owed(members: Sequence[Served], deposit: TokenDeposit, now_s: float) -> int | None:
    """The request that must run in the next plan, if there is one."""
    known = [member for member in members if member.id in deposit]
    ids = [member.id for member in known]
    due_s = deposit.of(ids).due_s
    patience_s = PATIENCE * np.array([member.tbt_limit_s for member in known])
    owed = (now_s - due_s >= patience_s).nonzero()[0].tolist()
    return min(((float(due_s[row]), ids[row]) for row in owed), default=(0.0, None))[1]


def rest_order(victim: Victim, members: Sequence[Served], passes: int) -> tuple[int, ...] | None:
    """Rows in the order in which they may be paused; None leaves it to the planner."""
    if victim is Victim.DENSITY:
        return None
    if victim is Victim.RANDOM:
        keys = [member.id * _MIX % 2**32 for member in members]
    else:
        sign = -1 if victim is Victim.LONGEST else 1
        keys = [sign * member.context_tokens(passes) for member in members]
    return tuple(np.argsort(np.array(keys), kind="stable").tolist())
