"""Who could run instead: the neighbours of a turn, by what they would lose at about its times.

One member more, one less, or one for another. Near the turn's own times J is all but linear,

    J' ~ J + J_first (T1' - T1) + J_span (span' - span) + sum of d_r over those who change

d_r what running instead of resting adds to J at these times, T' and T1' from sums over who runs;
the link carries what memory asks for at the least price of the turn's own members. So a thousand
neighbours are ranked by arrays of a thousand numbers, and only the best are made into turns.
"""

from __future__ import annotations

import numpy as np

from orbitflow.clock import FloatArray
from orbitflow.planner.turn.pool import Pool
from orbitflow.planner.turn.question import REST, BoolArray, Terms
from orbitflow.planner.turn.stream import group_pages, need
from orbitflow.planner.turn.worth import Worth
from orbitflow.step import IntArray

STEPS = 8  # up, at most
TRIED = 32  # neighbours that are tried in one step
BEYOND_S = 1e30


def climb(terms: Terms, pool: Pool) -> None:
    """Go from the pool's best turn to the best of its neighbours while they are better."""
    for _ in range(STEPS):
        before = pool.loss
        assert pool.best is not None, "a climb begins with a turn"
        assert pool.worth is not None, "which is worth something"
        found = neighbours(terms, pool.best, pool.worth)
        if not len(found):
            break
        pool.offer(found)
        if not pool.loss < before:
            break


def neighbours(terms: Terms, turn: IntArray, known: Worth) -> BoolArray:
    """The run sets next to a turn of shape (n,) that promise most, shape (sets, n)."""
    runs = turn != REST
    leave, enter = np.flatnonzero(runs & ~terms.must_run), np.flatnonzero(~runs)
    loss, flips = _Near(terms, turn, known), np.where(runs, -1.0, 1.0)
    changes = loss.by_member * flips
    alone = np.concatenate([leave, enter])
    swaps = changes[:, leave, None] + changes[:, None, enter]
    lost = loss.after(np.concatenate([changes[:, alone], swaps.reshape(len(changes), -1)], axis=1))
    best = np.flatnonzero(lost < 0)
    if len(best) > TRIED:
        best = best[np.argpartition(lost[best], TRIED)[:TRIED]]
    found: BoolArray = np.repeat(runs[None, :], len(best), axis=0)
    first = np.concatenate([alone, np.repeat(leave, len(enter))])[best]
    other = np.concatenate([alone, np.tile(enter, len(leave))])[best]
    rows = np.arange(len(best))
    found[rows, first] ^= True
    found[rows, other] ^= first != other
    return found


class _Near:
    """J near one turn. `by_member`, (4, n): what each that runs adds to d, a, P and what crosses
    of it in the first pass if nothing of it is hosted.
    """

    def __init__(self, terms: Terms, turn: IntArray, known: Worth) -> None:
        self._terms, self._runs = terms, turn != REST
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
        at_last = np.where(self._runs, (last > first) & (last > 0), rests > 0)
        self._by_span = terms.price + float(steep @ at_last)
        self._by_first = float(steep @ (self._runs & (first >= last) & (first > 0)))
        _, self._compute_s, self._pages, self._crossing_s = (self.by_member @ self._runs).tolist()
        hosted = np.maximum(turn, 0)
        first_link_s = float((np.maximum(hosted, terms.absent) * self._runs) @ terms.link_s)
        twice = first_link_s - self._crossing_s  # of the link's seconds, those that cross there too
        self._twice = twice / known.link_s if known.link_s > 0 else 0.0

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
        group = float(need(terms, self._runs[None, :]).largest[0]) * group_pages(terms)
        freed = max(layers - terms.ring, 1) / layers
        asked = np.where(over > 0, over / freed + group, 0.0)
        hosts = np.flatnonzero(self._runs & (terms.pages > 0))
        hosts = hosts[np.argsort(terms.link_s[hosts] / terms.pages[hosts], kind="stable")]
        held = np.concatenate([[0.0], layers * np.cumsum(terms.pages[hosts])])
        link_s = np.concatenate([[0.0], layers * np.cumsum(terms.link_s[hosts])])
        needed: FloatArray = np.interp(asked, held, link_s, right=BEYOND_S)
        return needed
