"""One run set with whole layers on the host: the best turns, and what none of them can lose less
than.

J grows with the link seconds X of a pass and Y of the first. For every largest group g that the
host may hold, those of at most g pages hold P(g) of them, and exact covers (`cover`) say

    X >= min X,    Y >= min Y,    Y + w X >= min (Y + w X)    for any w

so that J is at least its least value on the border of what these leave. Each w is that of the chord
between the turns found on both sides of the border's best place, until one meets the bound or they
are neighbours on the hull. Groups are tried in the order of what they lose with fractions of
layers, until that is more than a turn loses that was found, or than is worth looking for.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

import numpy as np

from orbitflow.clock import FloatArray
from orbitflow.planner.turn.cover import Cover, cover
from orbitflow.planner.turn.question import REST, BoolArray, Terms
from orbitflow.planner.turn.stream import group_pages, least_with, need
from orbitflow.planner.turn.worth import ROUNDING, TIE, least_of, ranked, times_all
from orbitflow.step import IntArray

MOST_GROUPS = 3  # that are tried
CHORDS = 4  # that are tried for each
PLACES = 32  # on the border, at each of which J is at least that of the corner below
FREE = 1e-9  # price of a link second that costs nothing, so that none is wasted


class Whole(NamedTuple):
    """Turns of one run set, shape (k, n), and what none of all its turns loses less than."""

    turns: IntArray
    bound: float


def whole(terms: Terms, runs: BoolArray, cut: float) -> Whole:
    """Turns of a run set of shape (n,) that fits, but not without the host; of what loses more than
    the cut the bound need not say how much.
    """
    asked = need(terms, runs[None, :])
    smallest = float(asked.largest[0])
    groups = np.unique(terms.pages[runs & (terms.pages >= smallest)])
    if not terms.ring:
        groups = groups[-1:]
    hosts = runs & (terms.pages <= groups[:, None])
    pages = asked.pages[0] + (groups - smallest) * group_pages(terms)
    losses = least_with(terms, np.repeat(runs[None, :], len(groups), axis=0), hosts, pages)
    turns, bound, best = [], np.inf, cut
    for tried, row in enumerate(ranked(losses).tolist()):
        if losses[row] >= min(bound, best) or tried == MOST_GROUPS:
            bound = min(bound, float(losses[row]))
            break
        group = _Group(terms, runs, hosts[row], ceil(pages[row] - ROUNDING), best)
        turns += [split.layers for split in group.splits]
        best, bound = min(best, group.loss), min(bound, max(group.bound, float(losses[row])))
    rows = np.array(turns, dtype=np.int64).reshape(-1, len(runs))
    return Whole(np.where(runs, rows, REST), bound)


class _Split(NamedTuple):
    """Layers on the host with their link seconds of a pass and of the first one."""

    layers: IntArray
    link_s: float
    first_link_s: float


class _Group:
    """Turns of one run set by those who may have layers on the host, and a bound of J; nothing more
    is looked for once the bound reaches the cut.
    """

    def __init__(
        self, terms: Terms, runs: BoolArray, hosts: BoolArray, pages: int, cut: float
    ) -> None:
        self._terms, self._runs, self._pages, self._cut = terms, runs, pages, cut
        self._room = np.where(hosts, terms.layers, 0)
        self._absent = np.where(hosts, terms.absent, 0).astype(np.int64)
        self._sizes = terms.pages.astype(np.int64)
        self._here = terms.absent * runs
        self._crossing_s = float(self._here @ terms.link_s)
        self.splits: list[_Split] = []  # by X
        self.loss, self.bound = np.inf, -np.inf
        self._solve()

    def _solve(self) -> None:
        found = cover(self._room, self._sizes, self._terms.link_s, self._pages)
        if found is None:
            self.bound = np.inf
            return
        self._add(found.layers)
        link_s, first_s = found.least, max(found.least, self._crossing_s)
        self._place(np.array([link_s]), np.array([first_s]))
        if self._is_done():
            return
        found = self._cover(0.0)
        self._add(found.layers)
        first_s = max(first_s, found.least - FREE * float(self._room @ self._terms.link_s))
        lines = [(0.0, first_s)]  # w and what Y + w X is at least
        at_s = self._border(link_s, lines)
        for _ in range(CHORDS):
            if self._is_done():
                return
            places = [split.link_s for split in self.splits]
            after = min(max(1, int(np.searchsorted(places, at_s, side="right"))), len(places) - 1)
            left, right = self.splits[after - 1], self.splits[after]
            fall_s, rise_s = left.first_link_s - right.first_link_s, right.link_s - left.link_s
            if fall_s <= 0 or rise_s <= 0 or any(w * rise_s == fall_s for w, _ in lines):
                return
            weight = fall_s / rise_s
            found = self._cover(weight)
            self._add(found.layers)
            lines.append((weight, found.least))
            at_s = self._border(link_s, lines)

    def _border(self, link_s: float, lines: list[tuple[float, float]]) -> float:
        """Bound J on the border; the X of its best place."""
        last_s = self.splits[-1].link_s
        places = np.linspace(link_s, last_s, PLACES + 1)
        weights, sums = np.array(lines).T
        low_s = np.max(sums - weights * places[1:, None], axis=1)
        return self._place(np.append(places[:-1], last_s), np.append(low_s, sums[0]))

    def _place(self, link_s: FloatArray, first_link_s: FloatArray) -> float:
        """Raise the bound to the least J of some places; the X of that."""
        runs = np.broadcast_to(self._runs, (len(link_s), len(self._runs)))
        losses = times_all(self._terms, runs, link_s, first_link_s).loss
        at = least_of(losses)
        self.bound = max(self.bound, float(losses.min()))
        return float(link_s[at])

    def _is_done(self) -> bool:
        return self.bound >= min(self._cut, self.loss - TIE * max(1.0, self.loss))

    def _add(self, layers: IntArray) -> None:
        """A turn, and what it loses."""
        link_s = float(layers @ self._terms.link_s)
        first_s = float(np.maximum(layers, self._here) @ self._terms.link_s)
        times = times_all(self._terms, self._runs[None, :], np.array([link_s]), np.array([first_s]))
        self.loss = min(self.loss, float(times.loss[0]))
        self.splits.append(_Split(layers, link_s, first_s))
        self.splits.sort(key=lambda split: split.link_s)

    def _cover(self, weight: float) -> Cover:
        """The cover of least Y + w X, and that."""
        link_s = self._terms.link_s
        found = cover(
            np.concatenate([self._absent, self._room - self._absent]),
            np.tile(self._sizes, 2),
            np.concatenate([max(weight, FREE) * link_s, (weight + 1) * link_s]),
            self._pages,
        )
        assert found is not None, "there is room"
        layers = found.layers.reshape(2, -1).sum(axis=0)
        return Cover(layers, found.price, found.least + self._crossing_s)
