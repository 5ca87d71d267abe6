"""Who could run instead: run sets near one, by what they would lose at about its times.

Near given times J is all but linear in who else runs,

    J' ~ J + J_first (T1' - T1) + J_span (span' - span) + sum of d_r over those who change

d_r what running instead of resting adds to J at these times, T' and T1' from sums over who runs;
the link carries what memory asks for at the least price of those who run. So thousands of run sets
are ranked by arrays of thousands of numbers, and only the best are tried: first the neighbours, one
member more, one less, or one for another; then, as the best of these are members whose exchange all
but pays, every combination of those. A climb begins at the best turn, and goes on from the next
best ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orbitflow.arrays import BoolArray, FloatArray, IntArray
from orbitflow.planner.turn.pool import Pool
from orbitflow.planner.turn.question import REST, Terms
from orbitflow.planner.turn.stream import group_pages, need
from orbitflow.planner.turn.worth import Worth

STEPS = 12  # up and aside, at most
ASIDE = 4  # of which make nothing better
TRIED = 32  # run sets that are tried in one step
CORE = 12  # members in doubt of whom every combination is ranked
CORE_SWAPS = 64  # neighbours that say who they are
MADE = 2  # run sets that are made into turns where none near is better at once
BEYOND_S = 1e30
PATTERNS = ((np.arange(2**CORE)[:, None] >> np.arange(CORE)) & 1).astype(np.float64)


def climb(terms: Terms, pool: Pool) -> None:
    """Go from the pool's best turns to better ones near them while there are any."""
    aside = 0
    for _ in range(STEPS):
        before, start = pool.loss, pool.next_turn()
        if start is None:
            break
        near = near_turn(terms, *start)
        swaps = near.swaps()
        pool.offer(neighbours(near, swaps, pool.loss))
        if not pool.loss < before:
            pool.offer(combined(near, _in_doubt(swaps), pool.loss))
        if not pool.loss < before:
            pool.make(MADE)
        if not pool.loss < before:
            aside += 1
            if aside == ASIDE:
                break


def neighbours(near: Near, swaps: Swaps, below: float) -> BoolArray:
    """The neighbours that promise most, and to lose less than so much, shape (sets, n)."""
    best = _most_promising(swaps.loss, below)
    first, other, rows = swaps.first[best], swaps.other[best], np.arange(len(best))
    found: BoolArray = np.repeat(near.runs[None, :], len(best), axis=0)
    found[rows, first] ^= True
    found[rows, other] ^= first != other
    return found


def combined(near: Near, core: IntArray, below: float) -> BoolArray:
    """The run sets that differ in nobody but the core's members and promise most."""
    kinds = PATTERNS[: 2 ** len(core), : len(core)]
    best = _most_promising(near.after((near.by_member * near.flips)[:, core] @ kinds.T), below)
    found: BoolArray = np.repeat(near.runs[None, :], len(best), axis=0)
    found[:, core] ^= kinds[best] > 0
    return found


def _in_doubt(swaps: Swaps) -> IntArray:
    """The members of the best swaps."""
    order = np.argsort(swaps.loss, kind="stable")[:CORE_SWAPS]
    members = np.stack([swaps.first[order], swaps.other[order]], axis=1).ravel()
    return np.array(list(dict.fromkeys(members.tolist()))[:CORE], dtype=np.int64)


def _most_promising(losses: FloatArray, below: float) -> IntArray:
    """The least of them, at most TRIED."""
    best: IntArray = np.flatnonzero(losses < below)
    if len(best) > TRIED:
        best = best[np.argpartition(losses[best], TRIED)[:TRIED]]
    return best


class Swaps(NamedTuple):
    """All neighbours: one member that changes, or two, and what they would lose."""

    first: IntArray
    other: IntArray  # the same as `first` where it changes alone
    loss: FloatArray


def near_turn(terms: Terms, turn: IntArray, known: Worth) -> Near:
    """J near a turn of shape (n,)."""
    runs = turn != REST
    twice_s = float((np.maximum(turn, terms.absent) - terms.absent) @ (runs * terms.link_s))
    twice = twice_s / known.link_s if known.link_s > 0 else 0.0
    return Near(terms, runs, known.pass_s, known.first_pass_s, twice)


class Near:
    """J near some times, of who `runs`. `by_member`, (4, n): what each that runs adds to d, a, P
    and what crosses of it in the first pass if nothing of it is hosted; `flips`: 1 for who does
    not. `twice`: of the link's seconds, those that are added to the crossing of the first pass.
    """

    def __init__(
        self, terms: Terms, runs: BoolArray, pass_s: float, first_s: float, twice: float = 0.0
    ) -> None:
        self._terms, self.runs, self._twice = terms, runs, twice
        self.flips = np.where(runs, -1.0, 1.0)
        span_s = first_s + (terms.passes - 1) * pass_s
        self._first_s, self._span_s = first_s, span_s
        first = first_s * terms.rate + terms.first
        last = span_s * terms.rate + terms.runs
        rests = span_s * terms.rate + terms.rests
        if_runs = terms.weight * np.maximum(0.0, np.maximum(first, last))
        if_runs -= terms.passes * terms.value
        if_rests = terms.weight * np.maximum(0.0, rests)
        self.loss = float(np.where(runs, if_runs, if_rests).sum()) + terms.price * span_s
        crossing = terms.absent * terms.link_s
        pages = terms.layers * (terms.pages + 1)
        self.by_member = np.array([if_runs - if_rests, terms.compute_s, pages, crossing])
        steep = terms.weight * terms.rate
        at_last = np.where(runs, (last > first) & (last > 0), rests > 0)
        self._by_span = terms.price + float(steep @ at_last)
        self._by_first = float(steep @ (runs & (first >= last) & (first > 0)))
        _, self._compute_s, self._pages, self._crossing_s = (self.by_member @ runs).tolist()
        self._group = float(need(terms, runs[None, :]).largest[0]) * group_pages(terms)

    def swaps(self) -> Swaps:
        """All neighbours."""
        runs = self.runs
        leave, enter = np.flatnonzero(runs & ~self._terms.must_run), np.flatnonzero(~runs)
        changes = self.by_member * self.flips
        alone = np.concatenate([leave, enter])
        pairs = changes[:, leave, None] + changes[:, None, enter]
        changes = np.concatenate([changes[:, alone], pairs.reshape(len(changes), -1)], axis=1)
        first = np.concatenate([alone, np.repeat(leave, len(enter))])
        other = np.concatenate([alone, np.tile(enter, len(leave))])
        return Swaps(first, other, self.after(changes))

    def after(self, changes: FloatArray) -> FloatArray:
        """J after changes of shape (4, k)."""
        terms = self._terms
        gain, compute_s, pages, crossing_s = changes
        link_s = self._link_s(self._pages + pages)
        compute_s = terms.base_s + self._compute_s + compute_s + terms.slowdown * link_s
        pass_s = np.maximum(np.maximum(compute_s, link_s), terms.floor_s)
        first_s = np.maximum(pass_s, self._crossing_s + crossing_s + self._twice * link_s)
        span_s = first_s + (terms.passes - 1) * pass_s
        slope = self._by_first * (first_s - self._first_s)
        loss: FloatArray = self.loss + gain + slope + self._by_span * (span_s - self._span_s)
        return loss

    def _link_s(self, pages: FloatArray) -> FloatArray:
        """Link seconds of a pass for run sets that take so many pages, hosted as cheaply as could
        be with those who run; BEYOND_S where that is not enough.
        """
        terms, layers = self._terms, self._terms.layers
        over = pages - terms.gpu_pages
        if not (over > 0).any():
            return np.zeros(len(pages))
        freed = max(layers - terms.ring, 1) / layers
        asked = np.where(over > 0, over / freed + self._group, 0.0)
        hosts = np.flatnonzero(self.runs & (terms.pages > 0))
        hosts = hosts[np.argsort(terms.link_s[hosts] / terms.pages[hosts], kind="stable")]
        held = np.concatenate([[0.0], layers * np.cumsum(terms.pages[hosts])])
        link_s = np.concatenate([[0.0], layers * np.cumsum(terms.link_s[hosts])])
        needed: FloatArray = np.interp(asked, held, link_s, right=BEYOND_S)
        return needed
