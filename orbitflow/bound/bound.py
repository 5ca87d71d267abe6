"""What no policy can exceed on one trace, machine and SLO, whatever it knows and however it
schedules.

Each figure is the optimum of a relaxation: every inequality used holds for each pass that the
simulator can time, so a schedule may violate what was left out, never what was kept. In short

    pass      T >= base + sum (request + token c) + chunks  and  T >= (KV - GPU) pages / link
    token     T (1 - x) + T x, spread over the pass's tokens     `orbitflow.bound.relaxation`
    request   all its work lies between its arrival and its last allowed moment

`docs/bound.md` derives them. Not covered: policies that drop KV, recompute it or attend on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orbitflow.arrays import BoolArray
from orbitflow.bound.job_sets import FEW, least_ends, possible_sets
from orbitflow.bound.on_time import most_first_tokens, most_in_time
from orbitflow.bound.relaxation import SharedMachine, Work, feasible, machine_of, relax
from orbitflow.machine.cost import CostModel
from orbitflow.memory import KvLimits
from orbitflow.request import Request
from orbitflow.slo import Slo


@dataclass(frozen=True, slots=True)
class Bound:
    """Upper limits, with the names of the summary's figures."""

    timely_share: float
    slo_attainment: float
    ttft_attainment: float
    tpot_attainment: float
    goodput_rps: float


def upper_bound(
    requests: Sequence[Request],
    cost: CostModel,
    limits: KvLimits,
    max_batch: int | None,
    slo: Slo,
    *,
    deposit: bool = True,
) -> Bound:
    """Bound every policy's figures on these requests. There must be at least one."""
    total = len(requests)
    served = feasible(requests, limits)
    machine = machine_of(served, cost, limits, max_batch)
    work = relax(served, machine, cost, slo, deposit=deposit)
    in_pace = work.alone_s * (1 - 1e-9) <= work.last_due_s - work.first_due_s
    first, paced = most_first_tokens(work, machine), int(in_pace.sum())
    both = min(first, most_in_time(work.take(in_pace), machine))
    return Bound(
        most_timely_share(work),
        both / total,
        first / total,
        paced / total,
        most_per_second(work, machine, in_pace, both, min(r.arrival_s for r in requests)),
    )


def most_timely_share(work: Work) -> float:
    """Serve one after another: no request can be read faster than alone. Only a request that some
    placement cannot hold may be refused, which takes it out of both sums.
    """
    due_s = float(work.due_s[work.is_certain].sum())
    reading_s = float(work.reading_s[work.is_certain].sum())
    optional = work.take(~work.is_certain & (work.due_s > 0))
    shares = optional.due_s / optional.reading_s
    for row in np.argsort(-shares).tolist():
        if reading_s and shares[row] <= due_s / reading_s:
            break
        due_s += float(optional.due_s[row])
        reading_s += float(optional.reading_s[row])
    return min(1.0, due_s / reading_s * (1 + 1e-9)) if reading_s else 1.0


def most_per_second(
    work: Work, machine: SharedMachine, in_pace: BoolArray, both: int, start_s: float
) -> float:
    """Most requests on time per second from the first arrival to the last token. Whoever is on time
    is served, and so is every request that must not be refused.
    """
    if not both:
        return 0.0
    earliest_s = float(work.alone_end_s(machine).min()) * (1 - 1e-9) - start_s
    if len(work.passes) > FEW:
        return both / max(earliest_s, _least_end(work.take(work.is_certain), machine) - start_s)
    sets = possible_sets(work, machine, to_the_end=True)
    sets = sets[~(sets & ~in_pace).any(axis=1)]
    ends = least_ends(sets | work.is_certain, sets, work, machine) * (1 - 1e-9)
    sizes = np.minimum(sets.sum(axis=1), both)
    return float((sizes / np.maximum(ends - start_s, earliest_s)).max())


def _least_end(work: Work, machine: SharedMachine) -> float:
    """Least time of the last token if all are served: what arrives from some moment on is done
    after it.
    """
    ends = work.alone_end_s(machine)
    for mix in machine.mixes:
        after = np.cumsum(work.total_s(machine, mix)[::-1])[::-1]
        ends = np.maximum(ends, work.arrival_s + after)
    return float(ends.max(initial=0.0)) * (1 - 1e-9)
