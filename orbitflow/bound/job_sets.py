"""Few requests: which sets of them can be on time, with all that is known of a set.

A set is ruled out if one of its subsets is, if two of its members cannot both be on time
(`orbitflow.bound.pairs`), or if some interval is shorter than the work of those whose windows lie
in it: their prompts, their decode passes, and with a batch limit whoever must be over before the last of
them is admitted. Of very few requests also all orders are tried: of turns in a batch of one, and of
tokens (`orbitflow.bound.token_orders`). `docs/bound.md` derives each test.
"""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np

from orbitflow.arrays import FloatArray, IntArray
from orbitflow.bound.pairs import Pairs, pairs_of
from orbitflow.bound.relaxation import BoolArray, SharedMachine, Work, eased
from orbitflow.bound.token_orders import TokenOrders

FEW = 8  # requests of which all sets are tried
CAREFUL = 4  # requests of which it is tried who is admitted after whom


def possible_sets(work: Work, machine: SharedMachine, *, to_the_end: bool) -> BoolArray:
    """Sets that may be on time, with their first tokens or to the end, shape (sets, requests)."""
    jobs = len(work.passes)
    sets = (np.arange(1 << jobs)[:, None] >> np.arange(jobs) & 1).astype(bool)
    pairs = pairs_of(work, machine)
    if not to_the_end:
        work = work._replace(last_due_s=np.full(jobs, np.inf))
    possible = _pass_tests(sets, work, machine, pairs, to_the_end=to_the_end)
    if machine.slots == 1:
        possible &= ends_in_turn(sets, work, machine).diagonal() < np.inf
    elif machine.slots < jobs <= CAREFUL:
        in_turn = sets.sum(axis=1) <= machine.slots
        for over, last in permutations(range(jobs), 2):
            later = _after(work, machine, over, last)
            may = _pass_tests(sets, later, machine, pairs, to_the_end=to_the_end)
            in_turn |= sets[:, over] & sets[:, last] & may
        possible &= in_turn
    if jobs <= CAREFUL:
        possible &= ends_in_order(sets, sets, possible, work, machine, to_the_end) < np.inf
    for job in range(jobs):  # a subset of a set that is on time is on time
        possible &= possible[np.arange(1 << jobs) & ~(1 << job)]
    return sets[possible]


def ends_in_order(
    sets: BoolArray,
    on_time: BoolArray,
    wanted: BoolArray,
    work: Work,
    machine: SharedMachine,
    to_the_end: bool,
) -> FloatArray:
    """Least ends over the orders of tokens, by set, where wanted."""
    ends = np.zeros(len(sets))
    for row in np.flatnonzero(wanted & sets.any(axis=1)).tolist():
        served = sets[row]
        must = tuple(on_time[row, served].tolist())
        orders = TokenOrders(work.take(served), must, machine, to_the_end=to_the_end)
        ends[row] = orders.least_end_s() * (1 - 1e-9)
    return ends


def least_ends(
    sets: BoolArray, on_time: BoolArray, work: Work, machine: SharedMachine
) -> FloatArray:
    """Least time of the last token if `sets` are served and `on_time` are on time."""
    jobs, pairs = len(work.passes), pairs_of(work, machine)
    ends = _least_ends(sets, on_time, work, machine, pairs)
    if machine.slots == 1:
        masks = sets @ (1 << np.arange(jobs))
        return np.maximum(ends, ends_in_turn(on_time, work, machine)[masks, np.arange(len(sets))])
    if machine.slots < jobs <= CAREFUL:
        in_turn = np.where(sets.sum(axis=1) > machine.slots, np.inf, 0.0)
        for over, last in permutations(range(jobs), 2):
            later = _after(work, machine, over, last)
            both = sets[:, over] & sets[:, last]
            some = _least_ends(sets, on_time, later, machine, pairs)
            in_turn = np.minimum(in_turn, np.where(both, some, np.inf))
        ends = np.maximum(ends, in_turn)
    if jobs <= CAREFUL:
        wanted = np.ones(len(sets), dtype=bool)
        in_order = ends_in_order(sets, on_time, wanted, work, machine, to_the_end=True)
        ends = np.maximum(ends, in_order)
    return ends


def ends_in_turn(on_time: BoolArray, work: Work, machine: SharedMachine) -> FloatArray:
    """One place: least time at which each set of requests, served one after another in the best
    order, is over, infinite if those of `on_time` cannot be; shape (sets by number, rows).
    """
    jobs = len(work.passes)
    ends = np.full((1 << jobs, len(on_time)), np.inf)
    ends[0] = -np.inf
    first_s = (work.prefill_s + machine.overhead_s) * (1 - 1e-9)
    for served in range(1, 1 << jobs):
        for job in range(jobs):
            if served >> job & 1:
                first = np.maximum(ends[served ^ 1 << job], work.arrival_s[job]) + first_s[job]
                late = on_time[:, job] & (first > eased(work.first_due_s[job]))
                end = np.where(late, np.inf, first + work.alone_s[job] * (1 - 1e-9))
                ends[served] = np.minimum(ends[served], end)
    return ends


def _after(work: Work, machine: SharedMachine, over: int, last: int) -> Work:
    """The windows if `last` is admitted after `over` is over. More requests than places: whoever is
    admitted last finds another one gone.
    """
    arrival_s, last_due_s = work.arrival_s.copy(), work.last_due_s.copy()
    arrival_s[last] = max(arrival_s[last], work.alone_end_s(machine)[over] * (1 - 1e-9))
    entry_s = work.first_due_s[last] - work.prefill_s[last] - machine.overhead_s
    last_due_s[over] = min(last_due_s[over], entry_s)
    return work._replace(arrival_s=arrival_s, last_due_s=last_due_s)


def _least_ends(
    sets: BoolArray, on_time: BoolArray, work: Work, machine: SharedMachine, pairs: Pairs
) -> FloatArray:
    """What arrives from some moment on is done after it."""
    ends: FloatArray = np.where(sets, work.alone_end_s(machine), 0.0).max(axis=1)
    for begin in np.unique(work.arrival_s).tolist():
        late = sets & (work.arrival_s >= begin)
        least_s = _least(late, late, on_time & late, work, machine, pairs)
        ends = np.where(least_s > 0, np.maximum(ends, begin + least_s), ends)
    return ends


def _pass_tests(
    sets: BoolArray, work: Work, machine: SharedMachine, pairs: Pairs, *, to_the_end: bool
) -> BoolArray:
    possible = np.ones(len(sets), dtype=bool)
    if to_the_end:
        for one, other in zip(*np.nonzero(~pairs.agree), strict=True):
            possible &= ~(sets[:, one] & sets[:, other])
    on_pace = sets & to_the_end
    dues = np.unique(np.concatenate([work.first_due_s, work.last_due_s]))
    dues = dues[dues < np.inf]
    for request, arrival_s in enumerate(work.arrival_s.tolist()):  # a window may have been cut
        possible &= ~(sets[:, request] & _is_too_short(work, machine, request, arrival_s))
    for begin in np.unique(work.arrival_s).tolist():
        late = sets & (work.arrival_s >= begin)
        possible &= _slots_allow(late, begin, work, machine)
        for end in dues[dues > begin].tolist():
            first = late & (work.first_due_s <= end)
            last = late & (work.last_due_s <= end)
            least_s = _least(first | last, last, on_pace & last, work, machine, pairs)
            least_s = np.maximum(least_s, _prompts_s(first, begin, work, machine))
            possible &= least_s <= eased(end - begin)
    return possible


def _is_too_short(work: Work, machine: SharedMachine, request: int, arrival_s: float) -> bool:
    first_s = arrival_s + work.prefill_s[request] + machine.overhead_s
    last_s = first_s + work.alone_s[request]
    return bool(
        first_s * (1 - 1e-9) > eased(work.first_due_s[request])
        or last_s * (1 - 1e-9) > eased(work.last_due_s[request])
    )


def _least(
    first: BoolArray,
    last: BoolArray,
    on_time: BoolArray,
    work: Work,
    machine: SharedMachine,
    pairs: Pairs,
) -> FloatArray:
    """Least time for the prompts of `first` and the decode of `last`, by set."""
    if machine.slots == 1:
        apart: FloatArray = first @ (work.prefill_s + machine.overhead_s) + last @ work.alone_s
        return apart
    prompts = first @ work.prefill_s + machine.overhead_s * first.any(axis=1)
    compute, mix = prompts + last @ work.compute_s, machine.mix
    by_compute = compute + _bases(last, on_time, work, machine, pairs)
    by_pages = (1 - mix) * compute + mix * (last @ work.kv_s)
    least: FloatArray = np.maximum(by_compute, by_pages)
    return least


def _bases(
    last: BoolArray, on_time: BoolArray, work: Work, machine: SharedMachine, pairs: Pairs
) -> FloatArray:
    """Least time that the passes of `last` take beside their requests' own compute, by set."""
    base_s, tokens = machine.base_s, last @ work.passes
    passes = np.maximum((last * work.passes).max(axis=1), np.ceil(tokens / machine.slots))
    shared, saved = np.zeros(len(last)), np.zeros(len(last))
    least: FloatArray = base_s * passes
    for i, j in combinations(range(last.shape[1]), 2):
        both = last[:, i] & last[:, j]
        on_pace = on_time[:, i] & on_time[:, j]
        count = both * np.where(on_pace, pairs.on_pace[i, j], pairs.together[i, j])
        saving = both * np.where(on_pace, pairs.on_pace_saved_s[i, j], pairs.saved_s[i, j])
        apart = base_s * (work.passes[i] + work.passes[j]) - saving
        least = np.maximum(least, both * apart)
        shared, saved = shared + count, saved + saving
    least = np.maximum(least, base_s * (tokens - shared))
    return np.maximum(least, base_s * tokens - saved) if machine.slots == 2 else least


def _prompts_s(first: BoolArray, begin_s: float, work: Work, machine: SharedMachine) -> FloatArray:
    """Least time for the prompts of a set, none of which comes before `begin_s`. The pass that ends
    the last of them is too late for those that are due before all could be done, so they have a
    pass of their own before it, and so on.
    """
    done = total = first @ work.prefill_s
    ready = np.where(first, work.arrival_s, -np.inf).max(axis=1)  # for a pass of all at once
    at_once = ready + done + machine.overhead_s <= np.where(first, work.first_due_s, np.inf).min(
        axis=1
    ) * (1 + 1e-9)
    apart = done + 2 * machine.overhead_s * ~at_once
    for _ in range(first.shape[1]):
        early = first @ work.prefill_s + machine.overhead_s
        total = total + machine.overhead_s * first.any(axis=1)
        first = first & (work.first_due_s < begin_s + early[:, None] * (1 - 1e-9))
    least: FloatArray = np.maximum(total, apart)
    return least


def _slots_allow(sets: BoolArray, begin_s: float, work: Work, machine: SharedMachine) -> BoolArray:
    """Whether all but `slots` of a set, none of which comes before `begin_s`, can be over when its
    last member is admitted, whoever that is, and the prompts then due be done as well.
    """
    over = sets.sum(axis=1) - machine.slots
    allowed: BoolArray = over <= 0
    if allowed.all():
        return allowed
    entries = work.first_due_s - work.prefill_s - machine.overhead_s
    ends = work.alone_end_s(machine)
    prices = [work.total_s(machine, mix) for mix in machine.mixes]
    decode_s = machine.base_s * work.passes + work.compute_s
    for last, entry_s in enumerate(entries.tolist()):
        others = sets & (ends <= eased(entry_s)) & (np.arange(len(entries)) != last)
        fits = sets[:, last] & (others.sum(axis=1) >= over)
        for price in prices:
            fits &= _cheapest(others, over, price).sum(axis=1) <= eased(entry_s - begin_s)
        longest_s = _cheapest(others, over, decode_s).max(axis=1)
        for due_s in work.first_due_s[work.first_due_s >= entry_s].tolist():
            first = sets & (work.first_due_s <= due_s)
            prompts_s = first @ work.prefill_s + machine.overhead_s
            fits &= longest_s + prompts_s <= eased(due_s - begin_s)
        allowed |= fits
    return allowed


def _cheapest(sets: BoolArray, count: IntArray, price: FloatArray) -> FloatArray:
    """Prices of the `count` cheapest members of each set, zero for the others."""
    order = np.argsort(price)
    chosen = sets[:, order]
    chosen &= np.cumsum(chosen, axis=1) <= count[:, None]
    prices: FloatArray = chosen * price[order]
    return prices
