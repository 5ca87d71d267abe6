"""Who could run instead: run sets near a turn's, by what they would lose at about its times.

Near the turn's own times J is all but linear in who else runs,

    J' ~ J + J_first (T1' - T1) + J_span (span' - span) + sum of d_r over those who change

d_r what running instead of resting adds to J at these times, T' and T1' from sums over who runs;
the link carries what memory asks for at the least price of the turn's own members. So thousands of
run sets are ranked by arrays of thousands of numbers, and only the best are made into turns: first
the neighbours, one member more, one less, or one for another; then, as the best of these are
members whose exchange all but pays, every combination of those.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from orbitflow.clock import FloatArray
from orbitflow.planner.turn.pool import Pool
from orbitflow.planner.turn.question import REST, BoolArray, Terms
from orbitflow.planner.turn.stream import group_pages, need
from orbitflow.planner.turn.worth import Worth
from orbitflow.step import IntArray

STEPS = 8  # up, at most
TRIED = 32  # run sets that are tried in one step
CORE = 12  # members in doubt of whom every combination is ranked
CORE_SWAPS = 64  # neighbours that say who they are
MADE = 8  # hopeful run sets that are made into turns where none near is better
BEYOND_S = 1e30
PATTERNS = ((np.arange(2**CORE)[:, None] >> np.arange(CORE)) & 1).astype(np.float64)


def climb(terms: Terms, pool: Pool) -> None:
    """Go from the pool's best turn to better ones near it while there are any."""
    for _ in range(STEPS):
        before = pool.loss
        assert pool.best is not None, "a climb begins with a turn"
        assert pool.worth is not None, "which is worth something"
        near = Near(terms, pool.best, pool.worth)
        swaps = near.swaps()
        pool.offer(neighbours(near, swaps))
        if not pool.loss < before:
            pool.offer(combined(near, swaps))
        if not pool.loss < before:
            pool.make(MADE)
        if not pool.loss < before:
            break


def neighbours(near: Near, swaps: Swaps) -> BoolArray:
    """The neighbours that promise most, shape (sets, n)."""
    best = _most_promising(swaps.loss)
    first, other, rows = swaps.first[best], swaps.other[best], np.arange(len(best))
    found: BoolArray = np.repeat(near.runs[None, :], len(best), axis=0)
    found[rows, first] ^= True
    found[rows, other] ^= first != other
    return found


def combined(near: Near, swaps: Swaps) -> BoolArray:
    """The run sets that promise most and differ in nobody but the members of the best swaps."""
    order = np.argsort(swaps.loss, kind="stable")[:CORE_SWAPS]
    members = np.stack([swaps.first[order], swaps.other[order]], axis=1).ravel()
    core = members[np.sort(np.unique(members, return_index=True)[1])[:CORE]]
    kinds = PATTERNS[: 2 ** len(core), : len(core)]
    best = _most_promising(near.after((near.by_member * near.flips)[:, core] @ kinds.T))
    found: BoolArray = np.repeat(near.runs[None, :], len(best), axis=0)
    found[:, core] ^= kinds[best] > 0
    return found


def _most_promising(losses: FloatArray) -> IntArray:
    """The rows that say there is something to gain, at most TRIED."""
    best: IntArray = np.flatnonzero(losses < 0)
    if len(best) > TRIED:
        best = best[np.argpartition(losses[best], TRIED)[:TRIED]]
    return best


class Swaps(NamedTuple):
    """All neighbours of a turn: one member that changes, or two, and J less the turn's own."""

    first: IntArray
    other: IntArray  # the same as `first` where it changes alone
    loss: FloatArray


class Near:
    """J near one turn, of who `runs`. `by_member`, (4, n): what each that runs adds to d, a, P and
    what crosses of it in the first pass if nothing of it is hosted; `flips`: 1 for who does not.
    """

    def __init__(self, terms: Terms, turn: IntArray, known: Worth) -> None:
        self._terms, self.runs = terms, turn != REST
        self.flips = np.where(self.runs, -1.0, 1.0)
        self._known = known
        first = known.first_pass_s * terms.rate + terms.first
        last = known.span_s * terms.rate + terms.runs
        rests = known.span_s * terms.rate + terms.rests
        late = np.maximum(0.0, np.maximum(first, last)) - np.maximum(0.0, rests)
        crossing = terms.absent * terms.link_s
        pages = terms.layers * (terms.pages + 1)
        gain = terms.weight * late - terms.passes * terms.value
        self.by_member = np.array([gain, terms.compute_s, pages, crossing])
        steep = terms.weight * terms.rate
        at_last = np.where(self.runs, (last > first) & (last > 0), rests > 0)
        self._by_span = terms.price + float(steep @ at_last)
        self._by_first = float(steep @ (self.runs & (first >= last) & (first > 0)))
        _, self._compute_s, self._pages, self._crossing_s = (self.by_member @ self.runs).tolist()
        hosted = np.maximum(turn, 0)
        first_link_s = float((np.maximum(hosted, terms.absent) * self.runs) @ terms.link_s)
        twice = first_link_s - self._crossing_s  # of the link's seconds, those that cross there too
        self._twice = twice / known.link_s if known.link_s > 0 else 0.0

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
        """J less this turn's after changes of shape (4, k)."""
        terms, known = self._terms, self._known
        gain, compute_s, pages, crossing_s = changes
        link_s = self._link_s(self._pages + pages)
        compute_s = terms.base_s + self._compute_s + compute_s + terms.slowdown * link_s
        pass_s = np.maximum(compute_s, link_s)
        first_s = np.maximum(pass_s, self._crossing_s + crossing_s + self._twice * link_s)
        span_s = first_s + (terms.passes - 1) * pass_s
        slope = self._by_first * (first_s - known.first_pass_s)
        loss: FloatArray = gain + slope + self._by_span * (span_s - known.span_s)
        return loss

    def _link_s(self, pages: FloatArray) -> FloatArray:
        """Link seconds of a pass for run sets that take so many pages, hosted as cheaply as could
        be with this turn's members; BEYOND_S where that is not enough.
        """
        terms, layers = self._terms, self._terms.layers
        over = pages - terms.gpu_pages
        if not (over > 0).any():
            return np.zeros(len(pages))
        group = float(need(terms, self.runs[None, :]).largest[0]) * group_pages(terms)
        freed = max(layers - terms.ring, 1) / layers
        asked = np.where(over > 0, over / freed + group, 0.0)
        hosts = np.flatnonzero(self.runs & (terms.pages > 0))
        hosts = hosts[np.argsort(terms.link_s[hosts] / terms.pages[hosts], kind="stable")]
        held = np.concatenate([[0.0], layers * np.cumsum(terms.pages[hosts])])
        link_s = np.concatenate([[0.0], layers * np.cumsum(terms.link_s[hosts])])
        needed: FloatArray = np.interp(asked, held, link_s, right=BEYOND_S)
        return needed
