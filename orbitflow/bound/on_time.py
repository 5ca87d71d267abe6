"""How many requests can be on time, at most: counting relaxations of one preemptive machine.

Jobs with windows can be done by one preemptive machine iff every interval is at least as long as
the work of the jobs whose windows lie in it. So amounts of work form a polymatroid, and giving the
shortest jobs as much as fits, one after another, maximises the number of jobs done, parts counted:
rounded down per group of jobs whose windows touch. Few jobs: `orbitflow.bound.job_sets`.
`docs/bound.md` says why each step can only overestimate.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from orbitflow.arrays import FloatArray
from orbitflow.bound.job_sets import FEW, possible_sets
from orbitflow.bound.relaxation import SharedMachine, Work, eased

BLOCK = 160  # jobs weighed against one another at once
GRID = 32  # marks between which runs of arrivals are weighed
TRIED = 32  # small groups of which all sets are tried: more would take too long


def most_first_tokens(work: Work, machine: SharedMachine) -> int:
    """Most requests whose first token can be in time."""
    if len(work.passes) <= FEW:
        return _largest_set(work, machine, to_the_end=False)
    due = work.first_due_s - machine.overhead_s
    counts = (
        _fractional(work.arrival_s[group], due[group], work.prefill_s[group])
        for group in _groups(work.arrival_s, due)
    )
    return min(sum(counts), _by_slots(work, machine))


def most_in_time(work: Work, machine: SharedMachine) -> int:
    """Most requests that can meet both limits."""
    if len(work.passes) <= FEW:
        return _largest_set(work, machine, to_the_end=True)
    work = work.take(work.arrival_s + work.prefill_s + machine.overhead_s <= work.first_due_s)
    prices = [work.total_s(machine, mix) for mix in machine.mixes]
    total, tried = 0, 0
    for group in _groups(work.arrival_s, work.last_due_s):
        some = work.take(group)
        least = min(_fractional(some.arrival_s, some.last_due_s, price[group]) for price in prices)
        if 1 < len(some.passes) <= FEW and tried < TRIED:
            least = min(least, _largest_set(some, machine, to_the_end=True))
            tried += 1
        total += least
    return total


def _largest_set(work: Work, machine: SharedMachine, *, to_the_end: bool) -> int:
    return int(possible_sets(work, machine, to_the_end=to_the_end).sum(axis=1).max())


def _groups(release: FloatArray, due: FloatArray) -> Iterator[slice]:
    """Runs of jobs, by release, whose windows do not touch those of the next; cut if long."""
    if not len(release):
        return
    apart = release[1:] > np.maximum.accumulate(due)[:-1]
    starts = [0, *(np.flatnonzero(apart) + 1).tolist(), len(release)]
    for begin, end in pairwise(starts):
        for cut in range(begin, end, BLOCK):
            yield slice(cut, min(cut + BLOCK, end))


def _fractional(release: FloatArray, due: FloatArray, work_s: FloatArray) -> int:
    """Most jobs of work that one preemptive machine does in time, parts of jobs counted, rounded
    down.
    """
    fits = work_s <= due - release
    release, due, work_s = release[fits], due[fits], work_s[fits]
    jobs = len(work_s)
    begins, at_begin = np.unique(release, return_inverse=True)
    ends, at_end = np.unique(due, return_inverse=True)
    slack = ends[None, :] - begins[:, None]
    slack += 1e-9 * (1 + np.abs(slack))
    wanted = np.zeros_like(slack)
    np.add.at(wanted, (at_begin, at_end), work_s)
    inside = np.cumsum(np.cumsum(wanted[::-1], axis=0)[::-1], axis=1)
    if ((inside <= slack) | (inside == 0)).all():
        return jobs
    slack[slack < 0] = np.inf
    total = 0.0
    for job in np.argsort(work_s).tolist():
        view = slack[: at_begin[job] + 1, at_end[job] :]
        amount = min(float(work_s[job]), float(view.min()))
        if amount > 0:
            view -= amount
            total += amount / work_s[job]
    return min(jobs, int(total + 1e-6))


def _by_slots(work: Work, machine: SharedMachine) -> int:
    """Most first tokens in time when a place in the batch is held until the last token.

    Of k requests on time, k - slots are over when the last of them is admitted. Applied to runs of
    arrivals between marks; the best way to cut the trace into runs is a shortest path.
    """
    jobs, slots = len(work.passes), int(machine.slots)
    if slots >= jobs:
        return jobs
    marks = np.unique(np.linspace(0, jobs, min(jobs, GRID) + 1).astype(int)).tolist()
    entry = work.first_due_s - work.prefill_s - machine.overhead_s
    prices = [work.total_s(machine, mix) for mix in machine.mixes]
    best = {0: 0}
    for index, end in enumerate(marks[1:], start=1):
        best[end] = jobs
        for begin in marks[:index]:
            run = end - begin
            if run > slots:
                until = float(entry[begin:end].max() - work.arrival_s[begin])
                for price in prices:
                    done = np.cumsum(np.sort(price[begin:end])) <= eased(until)
                    run = min(run, slots + int(done.sum()))
            best[end] = min(best[end], best[begin] + run)
    return best[jobs]
