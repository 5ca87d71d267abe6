"""What two requests in the same pass cost each other, at the least.

A request on pace has spare = tau * passes - (its own compute) seconds between its first and last
token. Each pass that it shares with another takes longer than its own would, by the other's compute
or by the KV that the two have to stream, so the spare time limits how many they share; what they do
not share they do in turn, and the later of the two must still be in time with its first token. The
k-th pass that two share finds both at their k-th context at least. `docs/bound.md` has the
derivation.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from orbitflow.arrays import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from orbitflow.bound.relaxation import SharedMachine, Work


class Pairs(NamedTuple):
    """Limits of requests i (row) and j (column), every array (requests, requests), symmetric."""

    together: FloatArray  # passes both can be in
    on_pace: FloatArray  # the same if both are to meet TPOT
    saved_s: FloatArray  # what sharing `together` passes saves over two passes each, at most
    on_pace_saved_s: FloatArray
    agree: BoolArray  # whether both can meet both limits


def pairs_of(work: Work, machine: SharedMachine) -> Pairs:
    """Limits of all pairs."""
    count = len(work.passes)
    together, on_pace, saved_s, on_pace_saved_s = np.zeros((4, count, count))
    agree = np.ones((count, count), bool)
    pairs = Pairs(together, on_pace, saved_s, on_pace_saved_s, agree)
    spare = work.last_due_s - work.first_due_s - machine.base_s * work.passes - work.compute_s
    spare = np.maximum(spare, 0.0) * (1 + 1e-9) + 1e-9
    for i, j in combinations(range(count), 2):
        k = np.arange(1, int(min(work.passes[i], work.passes[j])) + 1)
        contexts = work.prompt[i] + k, work.prompt[j] + k
        least, average = _stream_s(*contexts, machine)
        i_last, j_last = work.last_pass_s[i], work.last_pass_s[j]
        for_i = _extra_s(machine.token_s(contexts[1]), least - i_last, average - i_last)
        for_j = _extra_s(machine.token_s(contexts[0]), least - j_last, average - j_last)
        shared = int(min((for_i <= spare[i]).sum(), (for_j <= spare[j]).sum()))
        saved = _saved_s(machine.base_s, i_last + j_last - least, i_last + j_last - average)
        agree[i, j] = agree[j, i] = _can_follow(
            work, machine, spare, i, j, for_i, for_j
        ) or _can_follow(work, machine, spare, j, i, for_j, for_i)
        for array, value in (
            (pairs.together, len(k)),
            (pairs.on_pace, shared),
            (pairs.saved_s, saved[-1]),
            (pairs.on_pace_saved_s, saved[shared]),
        ):
            array[i, j] = array[j, i] = value
    return pairs


def _stream_s(
    one: IntArray, other: IntArray, machine: SharedMachine
) -> tuple[FloatArray, FloatArray]:
    """Link time of a pass that both are in: at least, and on the average of a run of passes, in
    which nothing can have come before the run.

    A layer's full pages leave the GPU together, and where some have there is a ring of one group.
    Infinite if the two never fit at once.
    """
    limits, page_s = machine.limits, machine.page_s
    groups = (one - 1) // limits.page_tokens, (other - 1) // limits.page_tokens
    over = limits.layers * (groups[0] + groups[1] + 2) - limits.gpu_pages
    needed = over + (0 if limits.ring_is_extra else np.minimum(*groups))
    possible = needed <= limits.layers * (groups[0] + groups[1])
    average = np.where(over > 0, np.where(possible, needed * page_s, np.inf), 0.0)
    least = np.zeros(len(one)) if limits.ring_is_extra else np.maximum(over, 0) * page_s
    return least, average


def _extra_s(token_s: FloatArray, least_s: FloatArray, average_s: FloatArray) -> FloatArray:
    """Time that the first k shared passes add to one request's own, shape (passes,)."""
    by_pass = np.cumsum(np.maximum(token_s, least_s))
    return np.maximum.accumulate(np.maximum(by_pass, np.cumsum(average_s)))


def _saved_s(base_s: float, least_s: FloatArray, average_s: FloatArray) -> FloatArray:
    """What up to k shared passes save over two passes each, shape (passes + 1,)."""
    by_pass = np.cumsum(np.minimum(base_s, least_s))
    saved = np.maximum.accumulate(np.maximum(0.0, np.minimum(by_pass, np.cumsum(average_s))))
    return np.append(0.0, saved)


def _can_follow(
    work: Work,
    machine: SharedMachine,
    spare: FloatArray,
    i: int,
    j: int,
    for_i: FloatArray,
    for_j: FloatArray,
) -> bool:
    """Whether j can have its first token in time, after that of i, with both on pace.

    If it is out before i is over, what of j's prompt did not come before i's first token is in i's
    spare time. Then either all decode of j is as well, or i has few passes behind j's first token:
    shared ones, and ones of its own that j's spare time has room for.
    """
    ready = work.arrival_s + work.prefill_s + machine.overhead_s
    own_i, own_j = work.first_pass_s[i], work.first_pass_s[j]
    begin_s = min(work.arrival_s[i], work.arrival_s[j])
    own_prompt_s = work.prefill_s[i] + machine.overhead_s
    latest = work.first_due_s[i]
    early_s = max(0.0, min(latest - work.arrival_s[j], latest - begin_s - own_prompt_s))
    spare_i = spare[i] - max(0.0, work.prefill_s[j] - early_s) * (1 - 1e-9)
    behind = 0.0  # passes of i behind the first token of j
    if spare_i >= 0:
        shared = int(min((for_i <= spare_i).sum(), (for_j <= spare[j]).sum()))
        for_i, for_j = np.append(0.0, for_i[:shared]), np.append(0.0, for_j[:shared])
        count = np.arange(shared + 1)
        room = np.floor((spare[j] - for_j) / own_i)
        inside = (for_i + (work.passes[j] - count) * own_j).min() <= spare_i
        behind = work.passes[i] if inside else min(work.passes[i], float((count + room).max()))
    before_s = (work.passes[i] - behind) * own_i
    first = max(ready[i], begin_s + own_prompt_s + work.prefill_s[j]) + before_s
    return bool(max(ready[j], first) * (1 - 1e-9) <= work.first_due_s[j])
